"""`python -m monitoring.alerts`: the alert receiver with the retraining dispatcher."""

from __future__ import annotations

import sys

from monitoring.alerts.server import serve
from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.errors import TidegateError
from tidegate.logging import configure, get_logger
from tidegate.ports import RunLauncher
from tidegate.settings import Settings, load_settings


def launcher(settings: Settings) -> RunLauncher | None:
    """What carries retrainings out in this profile; None for a cluster that is told no Kubeflow Pipelines.

    Requests are then recorded and wait: an alert is kept although nobody can act on it yet.
    """
    if settings.profile != "cluster":
        return LocalRunLauncher(settings.home)
    if not settings.kfp.url:
        get_logger("receiver").warning("retrainings are recorded and not started: TIDEGATE_KFP__URL is not set")
        return None
    from tidegate.adapters.kfp_launcher import KfpRunLauncher  # noqa: PLC0415 - on a cluster only

    return KfpRunLauncher(settings.kfp, retraining=settings.retraining, artifacts_uri=settings.artifacts_uri)


def main() -> int:
    """Exit status: 0 after SIGTERM, else that of the error."""
    try:
        settings = load_settings()
        configure("receiver", settings.log_level)
        serve(settings, launcher(settings))
    except TidegateError as error:
        get_logger("receiver").error("receiver cannot run", why=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
