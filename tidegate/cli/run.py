"""`tidegate run`: pipelines on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.context import actor, open_database
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.clock import SystemClock
from tidegate.errors import InvalidInput, NotFound
from tidegate.ids import new_id
from tidegate.settings import load_settings

if TYPE_CHECKING:
    from tidegate.adapters.kfp_local import StepEvent

app = typer.Typer(no_args_is_help=True, help="Run a pipeline and follow it, or look at earlier runs.")

_COLUMNS = {
    "id": "run",
    "pipeline": "pipeline",
    "status": "status",
    "seconds": "seconds",
    "started": "started",
    "detail": "detail",
}


ParametersOption = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", help="Any other parameter of the pipeline.", metavar="NAME=JSON"),
]


@app.command("fine-tune")
def fine_tune(  # noqa: PLR0913, PLR0917 - the options of one command
    data: Annotated[Path, typer.Option(help="Messages with intents: CSV, JSONL or Parquet; or Banking77's folder.")],
    model: Annotated[str, typer.Option(help="Registered model to make a version of.")] = "banking-intent",
    data_format: Annotated[str, typer.Option("--format", help="auto, csv, jsonl, parquet or banking77.")] = "auto",
    text: Annotated[str, typer.Option(help="Column with the message.")] = "text",
    label: Annotated[str, typer.Option(help="Column with the intent.")] = "label",
    group: Annotated[str | None, typer.Option(help="Column with the customer; else invented and marked so.")] = None,
    event_time: Annotated[str | None, typer.Option(help="Column with the time; else invented and marked so.")] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", min=1)] = 40,
    start_from: Annotated[
        str, typer.Option(help="Adapter to continue from: NAME/VERSION, NAME@ALIAS or a folder.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    customers: Annotated[int, typer.Option(help="Invent profiles for so many customers of live traffic.", min=0)] = 0,
    base_model: Annotated[str, typer.Option(help="Folder, address or hub id.")] = "builtin:smollm2-135m-instruct",
    alias: Annotated[str, typer.Option(help="Alias that nominates the version; '' nominates nothing.")] = "challenger",
    override_gate: Annotated[
        str | None,
        typer.Option(help="Register even when the gate says no; recorded everywhere.", metavar="NAME:REASON"),
    ] = None,
    parameter: ParametersOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; a failed one goes on when all options are the same.")
    ] = None,
) -> None:
    """Fine-tune: prepare, features, train, evaluate (gate), register and nominate a version."""
    if not data.exists():
        raise NotFound(f"--data {data} does not exist", next_step="Name a file, or the folder of Banking77.")
    by, reason = _override(override_gate)
    run = name or f"fine-tune-{new_id().lower()}"
    columns = {"text": text, "label": label, "group": group, "event_time": event_time}
    arguments = {
        "data": str(data.absolute()),
        "data_format": "banking77" if data.is_dir() and data_format == "auto" else data_format,
        "column_mapping": {what: name for what, name in columns.items() if name is not None},  # KFP has no null
        "model_name": model,
        "max_steps": steps,
        "start_from": start_from,
        "champion": f"{model}@champion",
        "base_model": base_model,
        "customer_pool": customers,
        "override_by": by,
        "override_reason": reason,
        "alias": alias,
        "seed": seed,
        "run_name": run,
        **_parameters(parameter or []),
    }
    _run("fine-tune", run, arguments)


@app.command()
def retrain(
    request: Annotated[
        str, typer.Option(help="Key of the retraining request, as `tidegate alerts retrainings` shows.")
    ],
    customers: Annotated[
        int | None,
        typer.Option(help="As in fine-tune; default: as the settings say, else as the champion's run.", min=0),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random; default: as the settings say, else 0.")
    ] = None,
    parameter: ParametersOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default: the request's. Other parameters need another name.")
    ] = None,
) -> None:
    """Carry a retraining request out: the new labelled rows, from the champion's adapter, caching off.

    The alert receiver calls this. Parameters of the deployment are taken from TIDEGATE_RETRAINING__PARAMETERS; what is
    said here wins. By hand it exits 4 when the request's run has succeeded, or failed with other parameters (give a
    --name then); a failed one with the same parameters goes on. The request's own state does not change by it.
    """
    from tidegate.local.retrain import find_request, retrain_arguments, run_name  # noqa: PLC0415 - not for --help

    settings = load_settings()
    found = find_request(settings, request)
    said = {"customer_pool": customers, "seed": seed, **_parameters(parameter or [])}
    run = name or run_name(found)
    _run("retrain", run, {**retrain_arguments(found, settings.retraining, said), "run_name": run})


@app.command("drift-check")
def drift_check(
    deployment: Annotated[str, typer.Argument(help="The deployment whose traffic is compared.")],
    alert: Annotated[bool, typer.Option(help="Tell the alert receiver about drift.")] = True,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
) -> None:
    """Check a deployment's recent traffic for drift; on one machine nothing schedules it, use cron."""
    run = name or f"drift-check-{new_id().lower()}"
    outputs = _run("drift-check", run, {"deployment": deployment, "send_alert": alert, "run_name": run})
    typer.echo(outputs.get("Output", ""))


@app.command("list")
def list_runs(
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 20,
    output: OutputOption = Format.table,
) -> None:
    """List runs, newest first."""
    from tidegate.store.runs import RunStore  # noqa: PLC0415 - SQLAlchemy

    runs = RunStore(open_database(), SystemClock()).list(pipeline, limit)
    rows = [
        {
            "id": run.id,
            "pipeline": run.pipeline,
            "status": run.status,
            "seconds": round((run.finished_at - run.started_at).total_seconds()) if run.finished_at else None,
            "started": run.started_at.isoformat(timespec="seconds"),
            "detail": run.detail,
        }
        for run in runs
    ]
    render(rows, output, _COLUMNS, empty="no run yet")


@app.command()
def show(run: Annotated[str, typer.Argument(help="The run's name.")], output: OutputOption = Format.table) -> None:
    """Show a run: its parameters, and its stages with their seconds."""
    from tidegate.store.runs import RunStore  # noqa: PLC0415 - SQLAlchemy

    found = RunStore(open_database(), SystemClock()).get(run)
    if found is None:
        raise NotFound(f"run {run!r} does not exist", next_step="List the runs with 'tidegate run list'.")
    if output != Format.table:
        render(found, output)
        return
    render({"run": found.id, "pipeline": found.pipeline, "status": found.status, "detail": found.detail}, output)
    console().print()
    render(list(found.stages), output)


def _run(pipeline: str, run: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from tidegate.local.runs import run_pipeline  # noqa: PLC0415 - not for --help

    out = console(stderr=True)

    def told(event: StepEvent) -> None:
        if event.kind == "started":
            out.print(f"[bold]{event.step}[/bold]")
        elif event.kind == "line":
            out.print(f"  {event.text}", markup=False)
        else:
            out.print(f"  {event.step} {event.kind} in {event.seconds:.1f} s", markup=False)

    out.print(f"run {run}", markup=False)
    outputs = run_pipeline(load_settings(), pipeline, arguments, run=run, actor=actor(), on_event=told)
    out.print(f"run {run} succeeded; see: tidegate run show {run}", markup=False)
    return outputs


def _override(text: str | None) -> tuple[str, str]:
    if text is None:
        return "", ""
    by, colon, reason = text.partition(":")
    if not colon or not by.strip() or not reason.strip():
        raise InvalidInput(
            f"--override-gate {text!r} is not NAME:REASON",
            next_step="Write who decides and why, for example 'anna:hotfix 42'.",
        )
    return by.strip(), reason.strip()


def _parameters(given: list[str]) -> dict[str, Any]:
    found = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise InvalidInput(f"--parameter {item!r} is not NAME=JSON", next_step="Write for example -p rank=8.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
