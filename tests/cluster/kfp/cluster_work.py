"""Light jobs of the tests: one uses what a training uses, the Ray that it was sent to and the key; one waits."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from tidegate.attestation import key_id_of, load_key
from tidegate.ports import Progress
from tidegate.settings import load_settings


def run(_payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Where the job itself and a worker of its Ray are, and whose key signs there."""
    import ray  # noqa: PLC0415 - only in the pod

    progress("begun", {})
    ray.init(log_to_driver=False)
    worker = ray.get(ray.remote(num_cpus=1)(lambda: socket.gethostname()).remote())  # noqa: PLW0108 - no builtin may
    progress("a worker has answered", {})
    key = key_id_of(load_key(load_settings().attestation_key_path))
    return {"driver": socket.gethostname(), "worker": worker, "key": key}


def wait(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Leaves a line in `times` for each time that it is begun, and ends when the file `until` appears."""
    times = 1
    if "times" in payload:
        with Path(payload["times"]).open("a") as file:
            file.write("once\n")
        times = len(Path(payload["times"]).read_text().split())
    progress("begun", {})
    while "until" in payload and not Path(payload["until"]).exists():
        time.sleep(0.2)
    progress("done", {})
    return {"times": times}
