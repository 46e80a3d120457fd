"""Jobs of the tests. They leave a line for every time that they are carried out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tidegate.errors import GateFailed
from tidegate.ports import Progress


def run(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Waits for a file to appear when it is told to, fails when it is told to."""
    with Path(payload["times"]).open("a") as file:
        file.write("once\n")
    progress("begun", {})
    while "until" in payload and not Path(payload["until"]).exists():
        time.sleep(0.05)
    progress("nearly done", {"loss": 0.5})
    if payload.get("gate"):
        raise GateFailed("exact_match 0.4 is below 0.6", next_step="Train longer.")
    return {"times": len(Path(payload["times"]).read_text().split())}
