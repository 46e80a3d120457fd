"""`tidegate alerts`: what the receiver took in, what was decided, and the retrainings that followed."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli.context import open_database
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.clock import SystemClock
from tidegate.domain.drift import RetrainStatus
from tidegate.errors import InvalidInput, NotFound
from tidegate.settings import load_settings
from tidegate.store.alerts import AlertStore, StoredAlert
from tidegate.store.firing import FiringStore
from tidegate.store.retraining import RetrainStore

app = typer.Typer(no_args_is_help=True, help="Look at received alerts and retraining requests.")

_ALERT_COLUMNS = {"received": "received", "name": "alert", "status": "status", "model": "model", "outcome": "decision"}
_REQUEST_COLUMNS = {
    "key": "key",
    "model": "model",
    "status": "status",
    "attempts": "failed attempts",
    "updated_at": "since",
    "reason": "why",
    "status_reason": "detail",
}
_STATUSES: tuple[RetrainStatus, ...] = ("pending", "running", "succeeded", "failed", "suppressed")


@app.command("list")
def list_alerts(
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 50, output: OutputOption = Format.table
) -> None:
    """List received alerts with what was decided about them, newest first."""
    stored = AlertStore(open_database(), SystemClock()).alerts(limit)
    render([_row(alert) for alert in stored], output, _ALERT_COLUMNS, empty="no alert was received")


@app.command()
def show(
    dedup_key: Annotated[str, typer.Argument(help="The alert's key or its fingerprint, as 'list -o json' shows them.")],
    output: OutputOption = Format.table,
) -> None:
    """Show one alert with labels and annotations."""
    stored = AlertStore(open_database(), SystemClock()).alerts(10_000)
    found = [one for one in stored if dedup_key in (one.alert.dedup_key, one.alert.fingerprint)]
    if not found:
        raise NotFound(
            f"alert {dedup_key!r} does not exist", next_step="List them with 'tidegate alerts list -o json'."
        )
    render(_row(found[0]), output)


@app.command()
def send(
    model: Annotated[str, typer.Option(help="Registered model that the alert names.")] = "tidegate-test",
    name: Annotated[str, typer.Option(help="The alert's name.")] = "TidegateTest",
    deployment: Annotated[str | None, typer.Option(help="Deployment that the alert names.")] = None,
    summary: Annotated[str, typer.Option(help="The alert's summary.")] = "sent by 'tidegate alerts send'",
    retrain: Annotated[bool, typer.Option("--retrain", help="Ask for a retraining: this starts a run.")] = False,
    resolve: Annotated[bool, typer.Option("--resolve", help="Say that the alert sent before is over.")] = False,
) -> None:
    """Send an alert to the receiver as Alertmanager does, to see the way that it takes."""
    from monitoring.alerts.client import AlertClient, OwnAlert  # noqa: PLC0415 - httpx takes 100 ms
    from monitoring.alerts.tokens import read_token  # noqa: PLC0415
    from monitoring.retraining.policy import ACTION_LABEL  # noqa: PLC0415

    settings = load_settings()
    labels = {"alertname": name, "model": model, ACTION_LABEL: "retrain" if retrain else "none"}
    if deployment:
        labels["deployment"] = deployment
    token = read_token(settings.receiver_token_path)
    client = AlertClient(settings.receiver_url, token, FiringStore(open_database(settings)))
    alert = OwnAlert(labels=labels, annotations={"summary": summary}, firing=not resolve)
    if not client.send(alert):
        raise InvalidInput(
            f"alert {name!r} of model {model!r} does not fire", next_step="Send it without --resolve first."
        )
    console(stderr=True).print(f"the receiver at {settings.receiver_url} has stored it")


@app.command()
def retrainings(
    model: Annotated[str | None, typer.Option(help="Of this registered model.")] = None,
    status: Annotated[str | None, typer.Option(help=f"One of {', '.join(_STATUSES)}.")] = None,
    output: OutputOption = Format.table,
) -> None:
    """List retraining requests, oldest first, with the reason of each and of its state."""
    wanted: RetrainStatus | None = None
    if status is not None:
        wanted = next((known for known in _STATUSES if known == status), None)
        if wanted is None:
            raise InvalidInput(f"status {status!r} is unknown", next_step=f"Use one of {', '.join(_STATUSES)}.")
    found = RetrainStore(open_database(), SystemClock()).list(model, wanted)
    render(found, output, _REQUEST_COLUMNS, empty="no retraining was asked for")


def _row(stored: StoredAlert) -> dict[str, object]:
    alert = stored.alert
    return {
        "received": stored.received_at.isoformat(timespec="seconds"),
        "dedup_key": alert.dedup_key,
        "fingerprint": alert.fingerprint,
        "name": alert.name,
        "status": alert.status,
        "model": alert.model,
        "deployment": alert.deployment,
        "outcome": stored.outcome or "undecided",
        "starts_at": alert.starts_at,
        "ends_at": alert.ends_at,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "delivery": stored.delivery,
    }
