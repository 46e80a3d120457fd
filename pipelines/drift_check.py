"""The pipeline `drift_check`: one step, for a recurring run."""

from kfp import dsl

from components.drift_check.component import drift_check as check
from pipelines.placement import placed


@dsl.pipeline(name="drift-check")  # type: ignore[untyped-decorator]
def drift_check(
    deployment: str,
    version: str = "",
    window_start: str = "",
    window_end: str = "",
    send_alert: bool = True,
    seed: int = 0,
    run_name: str = "",
) -> str:
    """Compares what a deployment was asked lately with what its version was evaluated on; alerts on drift.

    Args:
        deployment: name of the ModelDeployment.
        version: registry version; empty takes the stable one.
        window_start: ISO 8601 with a zone; empty takes the window's length from the settings.
        window_end: ISO 8601 with a zone; empty means now.
        send_alert: tell the alert receiver, which may start a retraining.
        seed: of the sample of a window that is larger than the limit.
        run_name: name of the run; the step finds the job of this name again.

    Returns:
        The verdict: drift, no_drift or too_few_rows.
    """
    task = check(
        deployment=deployment,
        version=version,
        window_start=window_start,
        window_end=window_end,
        send_alert=send_alert,
        seed=seed,
        run_name=run_name,
    )
    placed("drift-check", task)
    return task.outputs["Output"]  # type: ignore[no-any-return]
