"""`tidegate ledger`: the record of facts."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import times
from tidegate.cli.context import open_database
from tidegate.cli.output import Format, OutputOption, render
from tidegate.clock import SystemClock
from tidegate.errors import ContractBroken, InvalidInput, NotFound
from tidegate.ledger import KINDS, Anchor, Ledger

app = typer.Typer(no_args_is_help=True, help="Read the record of facts: append-only, hash-chained.")

_COLUMNS = {"seq": "#", "time": "time", "kind": "kind", "subject": "subject", "actor": "by", "summary": "what"}


@app.command("list")
def list_entries(
    kind: Annotated[
        str | None, typer.Option(help="A kind, or a prefix that ends in a dot: 'rollout.'.", show_default=False)
    ] = None,
    subject: Annotated[str | None, typer.Option(help="A deployment, 'Kind/name', run or key.")] = None,
    rollout: Annotated[str | None, typer.Option(help="A rollout's id.")] = None,
    since: Annotated[str | None, typer.Option(help=f"From this time on: {times.HELP}")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 50,
    output: OutputOption = Format.table,
) -> None:
    """List facts, oldest first."""
    if kind is not None and not any(
        known == kind or (kind.endswith(".") and known.startswith(kind)) for known in KINDS
    ):
        raise InvalidInput(f"kind {kind!r} is unknown", next_step=f"Use one of {', '.join(sorted(KINDS))}.")
    clock = SystemClock()
    found = Ledger(open_database(), clock).entries(
        kind=kind,
        subject=subject,
        rollout=rollout,
        since=times.parse_time(since, clock.now()) if since else None,
        until=times.parse_time(until, clock.now()) if until else None,
        limit=limit,
    )
    rows = [entry.as_row() for entry in found]
    if output == Format.table:
        rows = [{**row, "time": row["time"][:19], "summary": _summary(row["payload"])} for row in rows]
    render(rows, output, _COLUMNS, empty="no entry matches")


@app.command()
def show(
    entry: Annotated[str, typer.Argument(help="Its number or id, as 'list' shows them.")],
    output: OutputOption = Format.table,
) -> None:
    """Show one fact with all its details."""
    ledger = Ledger(open_database(), SystemClock())
    found = ledger.at(int(entry)) if entry.isdecimal() else ledger.get(entry)
    if found is None:
        raise NotFound(f"ledger entry {entry!r} does not exist", next_step="List them with 'tidegate ledger list'.")
    render(found.as_row(), output)


@app.command()
def verify(
    anchor: Annotated[
        str | None, typer.Option(help="A head that you kept from an earlier verify, SEQ:HASH.", metavar="SEQ:HASH")
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Recompute the hash chain; exit 7 names the first row that does not fit.

    Whoever can write to the whole database can rewrite the whole chain. Keep the printed head somewhere else, and give
    it as --anchor later: then a rewritten chain is found, too.
    """
    result = Ledger(open_database(), SystemClock()).verify(_parse_anchor(anchor) if anchor else None)
    if not result.ok:
        raise ContractBroken(
            f"the ledger is broken at row {result.bad_seq}: {result.reason}",
            next_step="Restore the database from a backup; the rows before it are sound.",
        )
    head = f"{result.head.seq}:{result.head.hash}"
    render({"ok": True, "rows": result.rows, "head": head}, output)


@app.command("at")
def serving_at(
    deployment: Annotated[str, typer.Argument(help="The deployment's name.")],
    time: Annotated[str, typer.Argument(help=times.HELP)] = "now",
    output: OutputOption = Format.table,
) -> None:
    """What was in production at that moment, and why."""
    clock = SystemClock()
    moment = times.parse_time(time, clock.now())
    serving = Ledger(open_database(), clock).serving_at(deployment, moment)
    if serving is None:
        raise NotFound(
            f"nothing was in production for {deployment!r} at {moment.isoformat()}",
            next_step="See its history with 'tidegate ledger list --kind routing.'.",
        )
    row = serving.as_row()
    if output == Format.table:
        row["arms"] = ", ".join(f"{arm.role} {arm.version}: {arm.weight:g}%" for arm in serving.arms)
    render(row, output)


def _parse_anchor(text: str) -> Anchor:
    seq, _, digest = text.partition(":")
    if not seq.isdecimal() or not digest.startswith("sha256:"):
        raise InvalidInput(f"anchor {text!r} is not SEQ:HASH", next_step="Copy the head that 'ledger verify' printed.")
    return Anchor(seq=int(seq), hash=digest)


def _summary(payload: dict[str, object]) -> str:
    """The sentence of a fact when it has one, else its short fields."""
    reason = payload.get("reason") or payload.get("message") or payload.get("detail")
    if reason:
        return str(reason)
    return " ".join(f"{key}={value}" for key, value in payload.items() if isinstance(value, (str, int, float)))[:120]
