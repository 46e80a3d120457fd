"""A light job of the tests that uses what a training uses: the Ray that it was sent to, and the attestation key."""

from __future__ import annotations

import socket
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
