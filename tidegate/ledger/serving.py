"""What was in production at a moment, read from the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tidegate.ledger.entry import LedgerEntry


@dataclass(frozen=True, slots=True)
class ServingArm:
    """One version's share of the users, in percent."""

    role: str
    version: str
    weight: float
    adapter: str


@dataclass(frozen=True, slots=True)
class Serving:
    """The routing in force at a moment, the sentence that says why, and the ledger rows that prove both."""

    deployment: str
    epoch: int
    since: datetime
    arms: tuple[ServingArm, ...]
    rollout: str | None
    step: str | None
    why: str
    actor: str
    routing_entry: str
    decision_entry: str | None

    def as_row(self) -> dict[str, Any]:
        """For tables and JSON output."""
        return {**asdict(self), "since": self.since.isoformat(), "arms": [asdict(arm) for arm in self.arms]}


def serving_at(routing: LedgerEntry, reasons: Sequence[LedgerEntry]) -> Serving:
    """Reads a `routing.published` fact; `reasons` are its rollout's decisions and transitions before it, newest first.

    The publisher's own reason comes first; then the newest decision of the rollout, then its newest transition.
    """
    payload = routing.payload
    table = payload["table"]
    decision = next((entry for entry in reasons if entry.kind == "rollout.decision"), None) or next(iter(reasons), None)
    why = payload.get("reason") or (_reason(decision) if decision else "") or "published without a recorded reason"
    return Serving(
        deployment=routing.subject,
        epoch=int(table["epoch"]),
        since=routing.time,
        arms=tuple(
            ServingArm(role=arm["role"], version=arm["version"], weight=float(arm["weight"]), adapter=arm["adapter"])
            for arm in table["arms"]
        ),
        rollout=routing.rollout,
        step=table.get("step"),
        why=str(why),
        actor=routing.actor,
        routing_entry=routing.id,
        decision_entry=payload.get("decision") or (decision.id if decision else None),
    )


def _reason(entry: LedgerEntry) -> str:
    payload = entry.payload
    return str(payload.get("reason") or payload.get("verdict") or entry.kind)
