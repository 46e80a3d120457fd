"""`python -m monitoring.alerts`: the alert receiver with the retraining dispatcher."""

from __future__ import annotations

import sys

from monitoring.alerts.server import serve
from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.errors import InvalidInput, TidegateError
from tidegate.logging import configure, get_logger
from tidegate.ports import RunLauncher
from tidegate.settings import Settings, load_settings


def launcher(settings: Settings) -> RunLauncher:
    """What carries retrainings out in this profile.

    Raises:
        InvalidInput: a cluster, and no address of Kubeflow Pipelines.
    """
    if settings.profile != "cluster":
        return LocalRunLauncher(settings.home)
    if not settings.kfp.url:
        raise InvalidInput(
            "the receiver on a cluster starts retrainings on Kubeflow Pipelines, and is told no address of it",
            next_step="Set TIDEGATE_KFP__URL (chart value kfp.url).",
        )
    from tidegate.adapters.kfp_launcher import KfpRunLauncher  # noqa: PLC0415 - on a cluster only

    return KfpRunLauncher(settings.kfp)


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
