"""`tidegate drift`: check now, and read what earlier checks found."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tidegate.cli import times
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.clock import SystemClock
from tidegate.domain.drift import DriftReport
from tidegate.ids import new_id
from tidegate.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Check for drift and read drift reports.")

_COLUMNS = {
    "id": "id",
    "deployment": "deployment",
    "version": "version",
    "window_end": "until",
    "window_rows": "rows",
    "verdict": "verdict",
    "reason": "why",
}
_COLUMN_COLUMNS = {
    "column": "column",
    "kind": "kind",
    "method": "method",
    "value": "p-value",
    "threshold": "threshold",
    "effect": "effect",
    "effect_floor": "least effect",
    "drifted": "drifted",
}


@app.command()
def check(
    deployment: Annotated[str, typer.Argument(help="Name of the ModelDeployment.")],
    since: Annotated[str | None, typer.Option(help=f"Start of the window: {times.HELP}", show_default=False)] = None,
    until: Annotated[str, typer.Option(help="End of the window.")] = "now",
    version: Annotated[str | None, typer.Option(help="Registry version; by default the stable one.")] = None,
    alert: Annotated[bool, typer.Option(help="Tell the alert receiver.")] = True,
    output: OutputOption = Format.table,
) -> None:
    """Compare the latest requests with the reference that was registered with the version.

    The verdict is drift, no_drift or too_few_rows; all three exit 0. Drift fires an alert, no_drift resolves it.
    """
    from monitoring.drift.spec import ENTRYPOINT, DriftCheckResult, DriftCheckSpec  # noqa: PLC0415
    from tidegate.adapters.compute import compute_from_settings  # noqa: PLC0415 - imports Ray
    from tidegate.ports import JobSpec  # noqa: PLC0415

    settings, now = load_settings(), SystemClock().now()
    end = times.parse_time(until, now)
    start = times.parse_time(since, now) if since else end - timedelta(seconds=settings.drift.window_seconds)
    spec = DriftCheckSpec(deployment=deployment, version=version, window_start=start, window_end=end, send_alert=alert)
    job = JobSpec(key=f"drift-check/{new_id()}", entrypoint=ENTRYPOINT, payload=spec.model_dump(mode="json"))
    compute = compute_from_settings(settings)
    compute.submit(job)
    for progress in compute.follow(job.key):
        console(stderr=True).print(progress.message, markup=False)
    result = DriftCheckResult.model_validate(compute.result(job.key))
    if output != Format.table:
        render(result, output)
        return
    _print(result.report)
    console(stderr=True).print(f"alert: {result.alert}", markup=False)


@app.command("list")
def list_reports(
    deployment: Annotated[str | None, typer.Option(help="Of this deployment.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 20,
    output: OutputOption = Format.table,
) -> None:
    """List drift reports, oldest first."""
    from monitoring.drift import reports  # noqa: PLC0415

    found = reports.list_reports(load_settings(), deployment, limit)
    render(found, output, _COLUMNS, empty="no drift check was made")


@app.command()
def show(
    report: Annotated[str, typer.Argument(help="Its id, as 'list' shows it.")], output: OutputOption = Format.table
) -> None:
    """Show one report, column by column."""
    from monitoring.drift import reports  # noqa: PLC0415

    found = reports.get_report(load_settings(), report)
    if output == Format.table:
        _print(found)
    else:
        render(found, output)


def _print(report: DriftReport) -> None:
    head = {
        "id": report.id,
        "verdict": report.verdict,
        "why": report.reason,
        "version": f"{report.model}/{report.version}",
        "window": f"{report.window_start:%Y-%m-%dT%H:%M:%SZ} to {report.window_end:%Y-%m-%dT%H:%M:%SZ}",
        "rows": f"{report.window_rows} against {report.reference_rows}",
        "report": report.html_uri,
    }
    render(head)
    if report.columns:
        console().print()
        render(list(report.columns), Format.table, _COLUMN_COLUMNS)
