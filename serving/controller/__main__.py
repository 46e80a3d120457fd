"""`python -m serving.controller`: one controller process; everything it needs to know is in `TIDEGATE_HOME`."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from serving.controller.loop import Controller
from serving.controller.parts import assemble_local
from serving.engines.catalog import render
from tidegate import attestation, logging
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.adapters.serve_engines import engines_from_settings
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import TidegateError, Unavailable
from tidegate.settings import Settings, load_settings

_log = logging.get_logger(__name__)
_STARTUP_SECONDS = 60.0
_RETRY_SECONDS = 0.5
_PATIENCE_SECONDS = 2.0
"""How long the registry watch tries one call; the next poll tries again anyway."""


def main() -> int:
    """Controls until SIGTERM or SIGINT. Returns the exit status: 0 after a clean end."""
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        settings = load_settings()
        logging.configure("controller", settings.log_level)
        controller = _build_when_ready(settings, stop)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if controller is not None:
        controller.run(stop)
    return 0


def _build_when_ready(settings: Settings, stop: threading.Event) -> Controller | None:
    """The controller, once Ray has its token: the platform's parts start side by side. None when told to stop.

    Raises:
        TidegateError: it cannot be built, or Ray's token did not come.
    """
    for _ in range(int(_STARTUP_SECONDS / _RETRY_SECONDS)):
        try:
            return build(settings)
        except Unavailable as error:
            _log.info("waiting for a part of the platform", problem=str(error))
        if stop.wait(_RETRY_SECONDS):
            return None
    return build(settings)


def build(settings: Settings) -> Controller:
    """The controller of this platform: MLflow's registry, Ray Serve's engines, the stores in its database."""
    clock = SystemClock()
    key = attestation.load_or_create_key(settings.attestation_key_path)
    return Controller(
        assemble_local(
            db=Database.open(settings.database_url),
            clock=clock,
            intervals=settings.intervals,
            registry=MlflowRegistry(settings.mlflow_uri, cache=settings.cache, patience=_PATIENCE_SECONDS),
            engines=engines_from_settings(settings, render),
            keys={attestation.key_id_of(key): key},
        )
    )


if __name__ == "__main__":
    sys.exit(main())
