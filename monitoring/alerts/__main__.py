"""`python -m monitoring.alerts`: the alert receiver with the retraining dispatcher."""

from __future__ import annotations

import sys

from monitoring.alerts.server import serve
from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.errors import TidegateError
from tidegate.logging import configure, get_logger
from tidegate.settings import load_settings


def main() -> int:
    """Exit status: 0 after SIGTERM, else that of the error."""
    try:
        settings = load_settings()
        configure("receiver", settings.log_level)
        serve(settings, LocalRunLauncher(settings.home))
    except TidegateError as error:
        get_logger("receiver").error("receiver cannot run", why=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
