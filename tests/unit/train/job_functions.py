"""What the job tests run; both the table's thread and Ray's worker import it by name."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.errors import GateFailed

Progress = Callable[[str, Mapping[str, float]], None]
gate = threading.Event()
calls: list[str] = []


class StricterGate(GateFailed):
    """A component's own error."""


def count(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    calls.append(str(payload.get("name")))
    for number in range(int(payload["to"])):
        progress(f"number {number}", {"number": float(number)})
        time.sleep(float(payload.get("pause", 0.0)))
    return {"sum": sum(range(int(payload["to"]))), "pid": os.getpid()}


def hold(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    progress("holding", {})
    gate.wait(30)
    return {}


def refuse(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    raise StricterGate("exact_match 0.41 is below 0.6", next_step="Train longer.")


def crash(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    known: dict[str, int] = {}
    return {"value": known["absent"]}


def leave(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    raise SystemExit(3)


def answer_nan(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return {"value": float("nan")}
