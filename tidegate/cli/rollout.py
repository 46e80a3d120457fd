"""`tidegate rollout`: how a rollout goes, why, and what to do about it."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.context import open_database
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.clock import SystemClock
from tidegate.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from tidegate.store.resources import ResourceStore, StoredResource

app = typer.Typer(no_args_is_help=True, help="Watch rollouts and decide: approve, promote, abort, pause, resume.")

_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 15.0
_SETTLED = {"Succeeded", "RolledBack", "Pending"}
_COLUMNS = {
    "name": "deployment",
    "stable": "stable",
    "candidate": "candidate",
    "phase": "phase",
    "step": "step",
    "weight": "weight",
    "pairs": "pairs",
    "eta": "eta (s)",
    "reason": "reason",
    "message": "message",
}
_HISTORY = {
    "time": "time",
    "rollout": "rollout",
    "to_phase": "phase",
    "step": "step",
    "weight": "weight",
    "reason": "reason",
    "by": "by",
    "message": "message",
}
_VERDICTS = {"metric": "metric", "mode": "mode", "outcome": "verdict", "reason": "why"}
NameArgument = Annotated[str | None, typer.Argument(help="The deployment; not needed when there is only one.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; it is recorded with your name.")]


@app.command("list")
def list_rollouts(output: OutputOption = Format.table) -> None:
    """List deployments and how their rollouts go."""
    rows = [_row(item) for item in _store().list("ModelDeployment")]
    render(rows, output, _COLUMNS, empty="no deployment is applied")


@app.command()
def watch(
    name: NameArgument = None,
    follow: Annotated[bool, typer.Option(help="Stay also after the rollout has ended.")] = False,
) -> None:
    """Follow a rollout, a line for every change, until it has ended. Ctrl-C leaves it running."""
    out, store = console(), _store()
    last: tuple[Any, ...] | None = None
    while True:
        row = _row(_find(name, store))
        line = tuple(row[key] for key in ("phase", "step", "weight", "reason", "pairs"))
        if line != last:
            last = line
            step = f" {row['step']}" if row["step"] else ""
            share = f" {row['weight']:g}%" if row["candidate"] else ""
            out.print(
                f"{time.strftime('%H:%M:%S')} {row['phase']}{step}{share}: {row['message']}",
                markup=False,
                soft_wrap=True,
            )
        if row["phase"] in _SETTLED and not follow:
            return
        time.sleep(_POLL_SECONDS)


@app.command()
def explain(name: NameArgument = None, output: OutputOption = Format.table) -> None:
    """Say in one paragraph what serves, what is going on and why; then every metric's verdict."""
    from serving.rollout.explain import explain as in_words  # noqa: PLC0415 - numpy
    from serving.rollout.state import RolloutState  # noqa: PLC0415

    stored = _find(name)
    if "state" not in stored.status:
        raise Unavailable(
            f"the controller has not looked at {stored.name} yet", next_step="See 'tidegate status'; wait a moment."
        )
    words = in_words(RolloutState.model_validate(stored.status["state"]))
    verdicts = stored.status.get("verdicts", [])
    if output != Format.table:
        render({"explanation": words, "verdicts": verdicts, "conditions": stored.status["conditions"]}, output)
        return
    out = console()
    out.print(words, markup=False, soft_wrap=True)
    if verdicts:
        out.print()
        render(verdicts, output, _VERDICTS)


@app.command()
def history(name: NameArgument = None, output: OutputOption = Format.table) -> None:
    """List every transition on record, oldest first, with who or what made it."""
    from tidegate.ledger import Ledger  # noqa: PLC0415 - SQLAlchemy

    stored = _find(name)
    facts = Ledger(open_database(), SystemClock()).entries(kind="rollout.transition", subject=stored.name)
    rows = [{**fact.payload, "time": fact.time.isoformat(timespec="seconds")} for fact in facts]
    render(rows, output, _HISTORY, empty="nothing has happened yet")


@app.command()
def approve(name: NameArgument = None, reason: ReasonOption = "") -> None:
    """Approve the step that waits for it."""
    _ask("approve", name, reason)


@app.command()
def promote(name: NameArgument = None, reason: ReasonOption = "") -> None:
    """Give the candidate all users now, past what the evidence says. Recorded with your name."""
    _ask("promote", name, reason)


@app.command()
def abort(name: NameArgument = None, reason: ReasonOption = "") -> None:
    """Take all users back to the stable version now; after a promotion, to the version before."""
    _ask("abort", name, reason)


@app.command()
def pause(name: NameArgument = None, reason: ReasonOption = "") -> None:
    """Hold the rollout at its weight. Harm still ends it."""
    _ask("pause", name, reason)


@app.command()
def resume(name: NameArgument = None, reason: ReasonOption = "") -> None:
    """Go on after a pause with a new deadline; after a rollback, try the version again from the beginning."""
    _ask("resume", name, reason)


def _ask(action: str, name: str | None, reason: str) -> None:
    """Puts a request into the controller's queue and prints its answer.

    Without an answer an abort stays in the queue, since it is always wanted; any other request is withdrawn.
    """
    from serving.rollout.operator_actions import REFUSED  # noqa: PLC0415 - with pydantic models
    from tidegate.store.actions import ActionStore  # noqa: PLC0415 - SQLAlchemy

    stored = _find(name)
    actions = ActionStore(open_database(), SystemClock())
    asked = actions.submit(stored.name, action, f"cli:{getpass.getuser()}", reason)
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        found = actions.get(asked.id)
        if found is not None and found.answer is not None:
            if REFUSED in found.answer:
                raise Conflict(found.answer, next_step=f"See 'tidegate rollout explain {stored.name}'.")
            console().print(found.answer, markup=False, soft_wrap=True)
            return
        time.sleep(_POLL_SECONDS / 2)
    if action == "abort":
        left = "it stays in the queue and is carried out when the controller is back"
    else:
        actions.done(asked.id, "withdrawn: the controller did not answer in time")
        left = "it was withdrawn"
    raise Unavailable(
        f"the controller has not answered {action} of {stored.name} for {_ANSWER_SECONDS:g} s; {left}",
        next_step="Run 'tidegate status' to see whether the controller runs, and 'tidegate up' to start it.",
    )


def _store() -> ResourceStore:
    from tidegate.store.resources import ResourceStore  # noqa: PLC0415 - SQLAlchemy

    return ResourceStore(open_database(), SystemClock())


def _find(name: str | None, store: ResourceStore | None = None) -> StoredResource:
    known = (store or _store()).list("ModelDeployment", deleted=False)
    if name is None and len(known) == 1:
        return known[0]
    names = ", ".join(item.name for item in known) or "none"
    if name is None:
        raise NotFound(f"there is not one deployment but {len(known)}", next_step=f"Name one of: {names}.")
    found = next((item for item in known if item.name == name), None)
    if found is None:
        raise NotFound(f"deployment {name!r} does not exist", next_step=f"There are: {names}.")
    return found


def _row(stored: StoredResource) -> dict[str, Any]:
    status = stored.status
    keys = ("stable", "candidate", "phase", "step", "pairs", "reason", "message")
    return {
        "name": stored.name,
        **{key: status.get(key) for key in keys},
        "weight": float(status.get("weight") or 0.0),
        "eta": status.get("etaSeconds"),
    }
