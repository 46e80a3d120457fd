"""`python -m monitoring.drift DEPLOYMENT`: one check in this process, as a cluster's CronJob makes it.

The verdict is on the last line, as JSON. drift, no_drift and too_few_rows all end with 0: what is wrong with a model is
told to the alert receiver, and the exit status says whether the check could be made. An alert that could not be sent
ends with 1, so that the job is tried again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from monitoring.drift.job import check_drift
from monitoring.drift.spec import DriftCheckSpec
from tidegate.clock import SystemClock
from tidegate.errors import TidegateError
from tidegate.logging import configure, get_logger
from tidegate.settings import load_settings

_log = get_logger("drift")
_NOT_TOLD = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 after a check, else that of the error."""
    asked = _arguments(arguments)
    clock = SystemClock()
    try:
        settings = load_settings()
        configure("drift", settings.log_level)
        now = clock.now()
        seconds = asked.window_seconds or settings.drift.window_seconds
        spec = DriftCheckSpec(
            deployment=asked.deployment,
            reference_uri=asked.reference_uri,
            window_start=now - timedelta(seconds=seconds),
            window_end=now,
            send_alert=asked.alert,
        )
        result = check_drift(spec, settings, clock, _said)
    except TidegateError as error:
        _log.error("no drift check was made", deployment=asked.deployment, why=str(error))
        return error.exit_code
    sys.stdout.write(result.model_dump_json() + "\n")
    return _NOT_TOLD if result.alert.startswith("not sent") else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m monitoring.drift", description="One drift check of a deployment.")
    parser.add_argument("deployment", help="name of the ModelDeployment")
    parser.add_argument("--window-seconds", type=float, help="length of the window that ends now; default: the setting")
    parser.add_argument("--reference-uri", help="reference window; default: the one registered with the version")
    parser.add_argument("--no-alert", dest="alert", action="store_false", help="do not tell the alert receiver")
    return parser.parse_args(arguments)


def _said(message: str, details: Mapping[str, Any]) -> None:
    _log.info(message, **details)


if __name__ == "__main__":
    sys.exit(main())
