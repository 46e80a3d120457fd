"""One way to join the platform's Ray: with its own token, quickly, or with an error that says what to do."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

from tidegate.adapters.ray_head import ray_environment
from tidegate.errors import Unavailable
from tidegate.settings import Settings

NAMESPACE = "tidegate"
_PROBE_SECONDS = 2.0
_lock = threading.Lock()


def connect(settings: Settings) -> Any:
    """The `ray` module, connected. Inside a worker of this Ray it is connected already.

    Raises:
        Unavailable: nothing listens at the address, or it refuses the token.
    """
    # Ray reads these when it is imported.
    os.environ.update(ray_environment(settings))
    import ray  # noqa: PLC0415  takes 0.7 s, and most processes of the platform never talk to Ray

    with _lock:
        if ray.is_initialized():
            context = ray.get_runtime_context()
            if context.worker.mode != ray.SCRIPT_MODE or context.gcs_address == settings.ray_address:
                return ray
            ray.shutdown()  # this process drove another Ray before
        _probe(settings)
        try:
            ray.init(
                address=settings.ray_address,
                namespace=NAMESPACE,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except Exception as error:
            raise Unavailable(
                f"Ray at {settings.ray_address} refuses the connection ({_first_line(error)})",
                next_step="Run 'tidegate status'; 'tidegate down' and 'tidegate up' start it afresh.",
            ) from error
        return ray


def disconnect() -> None:
    """Forgets a connection that broke, so that the next `connect` makes a new one."""
    import ray  # noqa: PLC0415

    with _lock:
        if ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.SCRIPT_MODE:
            ray.shutdown()


def _probe(settings: Settings) -> None:
    """Ray itself would wait for many seconds before it says that nobody is there."""
    host, _, port = settings.ray_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"nothing answers at Ray's address {settings.ray_address!r} ({error})",
            next_step="Run 'tidegate up' to start the platform.",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
