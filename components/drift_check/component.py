"""The drift check step."""

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def drift_check(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    report: dsl.Output[dsl.HTML],
    numbers: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
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
        report: Evidently's report.
        numbers: drift (0 or 1), share of changed columns, rows.
        summary: verdict with its reason and every test.
        deployment: name of the ModelDeployment.
        version: registry version; empty takes the stable one.
        window_start: ISO 8601 with a zone; empty takes the window's length from the settings.
        window_end: ISO 8601 with a zone; empty means now.
        send_alert: tell the alert receiver, which may start a retraining.
        seed: of the sample of a window that is larger than the limit.
        run_name: name of the pipeline run; the step re-attaches to the job of this name.

    Returns:
        The verdict: drift, no_drift or too_few_rows.
    """
    from pathlib import Path

    from components._step import run_step, step_key
    from components.drift_check import logic
    from monitoring.drift.spec import DriftCheckResult
    from tidegate.adapters import storage

    payload = {
        "deployment": deployment,
        "version": version or None,
        "window_start": window_start or None,
        "window_end": window_end or None,
        "send_alert": send_alert,
        "seed": seed,
    }
    answer = run_step("components.drift_check.logic:run", payload, "data", step_key("drift-check", run_name))
    result = DriftCheckResult.model_validate(answer)
    Path(report.path).write_bytes(storage.read_bytes(result.report.html_uri))
    for name, value in logic.metrics(result).items():
        numbers.log_metric(name, value)
    Path(summary.path).write_text(logic.summary(result), encoding="utf-8")
    return result.report.verdict
