"""`tidegate rollout`: how a rollout goes, why, and what to do about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli import substrates
from tidegate.cli.asking import ask
from tidegate.cli.options import ContextOption, NamespaceOption
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.errors import Denied, NotFound, Unavailable

if TYPE_CHECKING:
    from tidegate.cli.substrates import Deployment, Rollouts

app = typer.Typer(no_args_is_help=True, help="Watch rollouts and decide: approve, promote, abort, pause, resume.")

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0
"""How long a watch goes on without being able to look."""
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
MeantOption = Annotated[
    str,
    typer.Option(
        "--rollout", help="The attempt that is meant; a later one refuses. Default: the last one.", show_default=False
    ),
]
AbortedOption = Annotated[
    str,
    typer.Option(
        "--rollout",
        help="Abort this attempt only; a later one refuses. Default: whatever is on when it arrives.",
        show_default=False,
    ),
]


@app.command("list")
def list_rollouts(
    output: OutputOption = Format.table, namespace: NamespaceOption = "", context: ContextOption = ""
) -> None:
    """List deployments and how their rollouts go."""
    rollouts = substrates.rollouts(namespace, context)
    rows = [_row(item) for item in rollouts.all()]
    render(rows, output, _COLUMNS, empty=f"no deployment is applied{rollouts.place}")


@app.command()
def watch(
    name: NameArgument = None,
    follow: Annotated[bool, typer.Option(help="Stay also after the rollout has ended.")] = False,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Follow a rollout, a line for every change, until it has ended. Ctrl-C leaves it running."""
    out, rollouts = console(), substrates.rollouts(namespace, context)
    found = _find(name, rollouts)
    last: tuple[Any, ...] | None = None
    while True:
        row = _row(found)
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
        found = _look_again(found.name, rollouts)


@app.command()
def explain(
    name: NameArgument = None,
    output: OutputOption = Format.table,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Say in one paragraph what serves, what is going on and why; then every metric's verdict."""
    from serving.rollout.explain import explain as in_words  # noqa: PLC0415 - pydantic models

    rollouts = substrates.rollouts(namespace, context)
    found = _find(name, rollouts)
    state = rollouts.state(found)
    if state is None:
        raise Unavailable(
            f"the controller has not looked at {found.name}{rollouts.place} yet", next_step=rollouts.controller_hint()
        )
    words = in_words(state)
    judgement = state.attempt.judgement if state.attempt is not None else None
    verdicts = [verdict.model_dump(mode="json") for verdict in judgement.verdicts] if judgement is not None else []
    if output != Format.table:
        render({"explanation": words, "verdicts": verdicts, "conditions": found.status["conditions"]}, output)
        return
    out = console()
    out.print(words, markup=False, soft_wrap=True)
    if verdicts:
        out.print()
        render(verdicts, output, _VERDICTS)


@app.command()
def history(
    name: NameArgument = None,
    output: OutputOption = Format.table,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """List transitions, oldest first, with who or what made them.

    On one machine these are all on record. On a cluster they are what its objects keep: the newest 40, and before them
    how each of the last ten attempts ended; 'tidegate ledger list' has all, where the database is in reach.
    """
    rollouts = substrates.rollouts(namespace, context)
    rows = rollouts.history(_find(name, rollouts))
    render(rows, output, _HISTORY, empty="nothing has happened yet")


@app.command()
def approve(
    name: NameArgument = None,
    reason: ReasonOption = "",
    rollout: MeantOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Approve the step that waits for it."""
    _ask("approve", name, reason, rollout, namespace, context)


@app.command()
def promote(
    name: NameArgument = None,
    reason: ReasonOption = "",
    rollout: MeantOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Give the candidate all users now, past what the evidence says. Recorded with your name."""
    _ask("promote", name, reason, rollout, namespace, context)


@app.command()
def abort(
    name: NameArgument = None,
    reason: ReasonOption = "",
    rollout: AbortedOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Take all users back to the stable version now; after a promotion, to the version before."""
    _ask("abort", name, reason, rollout, namespace, context)


@app.command()
def pause(
    name: NameArgument = None,
    reason: ReasonOption = "",
    rollout: MeantOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Hold the rollout at its weight. Harm still ends it."""
    _ask("pause", name, reason, rollout, namespace, context)


@app.command()
def resume(
    name: NameArgument = None,
    reason: ReasonOption = "",
    rollout: MeantOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Go on after a pause with a new deadline; after a rollback, try the version again from the beginning."""
    _ask("resume", name, reason, rollout, namespace, context)


def _ask(action: str, name: str | None, reason: str, rollout: str, namespace: str, context: str) -> None:
    rollouts = substrates.rollouts(namespace, context)
    ask(rollouts, _find(name, rollouts), action, reason, rollout)


def _find(name: str | None, rollouts: Rollouts) -> Deployment:
    if name is not None and (found := rollouts.get(name)) is not None and not found.deleted:
        return found
    known = [item for item in rollouts.all() if not item.deleted]
    if name is None and len(known) == 1:
        return known[0]
    names = ", ".join(item.name for item in known) or "none"
    if name is None:
        raise NotFound(
            f"there is not one deployment{rollouts.place} but {len(known)}", next_step=f"Name one of: {names}."
        )
    raise NotFound(f"deployment {name!r} does not exist{rollouts.place}", next_step=f"There are: {names}.")


def _look_again(name: str, rollouts: Rollouts) -> Deployment:
    """The deployment that is watched. What holds it may be away for a while."""
    deadline, silent = time.monotonic() + _PATIENCE_SECONDS, False
    while True:
        try:
            return _find(name, rollouts)
        except Denied:
            raise
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            if not silent:
                console(stderr=True).print(f"{error.problem}; still watching", markup=False, soft_wrap=True)
            silent = True
            time.sleep(_POLL_SECONDS)


def _row(found: Deployment) -> dict[str, Any]:
    status = found.status
    keys = ("stable", "candidate", "phase", "step", "pairs", "reason", "message")
    return {
        "name": found.name,
        **{key: status.get(key) for key in keys},
        "weight": float(status.get("weight") or 0.0),
        "eta": status.get("etaSeconds"),
    }
