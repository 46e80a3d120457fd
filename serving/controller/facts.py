"""What the ledger and the people who asked learn of transitions: all of it can be told again from a state's history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serving.rollout.state import RolloutState, Transition
from tidegate.domain.routing import RoutingTable
from tidegate.ledger import Draft, Kind, fact_id

_DECISIONS = frozenset(
    {
        "HarmFound",
        "GatesPassed",
        "PromotedByOperator",
        "InitialDeployment",
        "DeadlinePassed",
        "MaxPairsReached",
        "Aborted",
        "AbortedAfterPromotion",
        "Superseded",
        "ExperimentConcluded",
    }
)
"""Reasons of transitions that settle a version's fate: the ledger keeps the whole judgement with them."""


def facts(subject: str, state: RolloutState, transitions: Iterable[Transition]) -> list[Draft]:
    """The facts of transitions, the newest of which led to `state`. Each has an id, so that it arrives once."""
    drafts = []
    for transition in transitions:
        payload = transition.model_dump(mode="json")
        attempt = state.attempt if state.attempt is not None and state.attempt.id == transition.rollout else None
        if transition.to_phase == "Preflight" and transition.from_phase != "Preflight" and attempt is not None:
            started = {"candidate": attempt.candidate, "plan": attempt.plan.model_dump(mode="json", by_alias=True)}
            drafts.append(_draft("rollout.started", subject, transition, started | payload))
        if transition.reason in _DECISIONS:
            judged = attempt.judgement.model_dump(mode="json") if attempt is not None and attempt.judgement else None
            found: dict[str, Any] = {"judgement": judged, "passed": attempt.passed if attempt is not None else None}
            drafts.append(_draft("rollout.decision", subject, transition, payload | found))
        drafts.append(_draft("rollout.transition", subject, transition, payload))
    return drafts


def answers(transitions: Iterable[Transition]) -> dict[str, str]:
    """Operator action id -> the answer."""
    return {item.action: item.message for item in transitions if item.action is not None}


def transition_id(subject: str, transition: Transition) -> str:
    """The id of a transition's fact in the ledger."""
    return fact_id("rollout.transition", subject, _identity(transition))


def routing_fact(table: RoutingTable, reason: str | None, decision: str | None) -> Draft:
    """The fact that a table came into force; the same table gives the same fact."""
    payload = {"table": table.model_dump(mode="json"), "reason": reason, "decision": decision}
    found = fact_id("routing.published", table.deployment, [table.epoch, table.updated_at.isoformat()])
    return Draft("routing.published", table.deployment, payload, "controller", table.rollout, found)


def _draft(kind: Kind, subject: str, transition: Transition, payload: dict[str, Any]) -> Draft:
    found = fact_id(kind, subject, _identity(transition))
    return Draft(kind, subject, payload, transition.by, transition.rollout or None, found)


def _identity(transition: Transition) -> list[Any]:
    """What no two transitions of one deployment share, also when two are made at the same moment.

    Two people, or one who is impatient, may ask the same at the same moment and get the same answer.
    """
    asked = [transition.action] if transition.action is not None else []
    return [transition.time.isoformat(), transition.rollout, transition.reason, transition.message, *asked]
