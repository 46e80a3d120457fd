"""The status of a ModelDeployment: the state, and what a person wants to read of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from serving.rollout.observation import Observation
from serving.rollout.state import ACTIVE, MOVING, RolloutState, Transition
from serving.rollout.verdicts import planned_pairs
from tidegate.domain.base import Contract, UtcTime
from tidegate.domain.routing import RoutingTable

_ETA_ROUNDED_TO = 5
"""Seconds; an estimate that changes with every request would only make noise."""


ConditionType = Literal["Ready", "Progressing", "Paused", "Degraded"]


class Condition(Contract):
    """A condition in the manner of Kubernetes."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    observed_generation: int
    last_transition_time: UtcTime | None = None


ENGINE_DOWN, ENGINE_SILENT = "EngineNotReady", "EngineSilent"
"""Reasons of the condition Ready."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Of the version that serves.

    Attributes:
        serves: whether a replica answers for it; None while its engine says nothing.
        problem: a sentence that says why not; empty while one does.
    """

    serves: bool | None = True
    problem: str = ""


SERVES = Availability()


def status_document(
    state: RolloutState,
    seen: Observation,
    generation: int,
    trouble: str | None = None,
    before: dict[str, Any] | None = None,
    now: datetime | None = None,
    available: Availability = SERVES,
) -> dict[str, Any]:
    """The whole status, JSON-ready. `state` in it is what the next decision reads; the rest is for people.

    Args:
        trouble: what does not work around the rollout; it makes the condition Degraded.
        before: the status so far, for the times of conditions that did not change.
        now: since when the others hold; None takes the time of the last transition.
        available: whether replicas answer for the version that serves.
    """
    attempt = state.attempt
    step = attempt.current.name if attempt is not None and attempt.current is not None else None
    judgement = attempt.judgement if attempt is not None else None
    return {
        "observedGeneration": generation,
        "phase": state.phase,
        "stable": state.stable,
        "candidate": state.candidate,
        "previous": state.previous,
        "rollout": attempt.id if attempt is not None else None,
        "step": step if state.phase in ACTIVE else None,
        "weight": state.weight,
        "epoch": state.epoch,
        "pairs": judgement.pairs if judgement is not None else 0,
        "etaSeconds": eta_seconds(state, seen),
        "reason": state.reason,
        "message": state.message,
        "verdicts": [v.model_dump(mode="json") for v in judgement.verdicts] if judgement is not None else [],
        "conditions": _conditions(state, generation, trouble, seen, before or {}, now or state.changed_at, available),
        "history": [_line(transition) for transition in state.history],
        "state": state.model_dump(mode="json"),
    }


def read_state(
    deployment: str, status: dict[str, Any], routing: RoutingTable | None, last_epoch: int = 0
) -> RolloutState:
    """The state in a status; without one (restored from a backup) what the routing in force proves.

    `last_epoch` is the highest that was ever published under this name: a deployment that was deleted and is applied
    again goes on from there, since whoever holds a table refuses a lower epoch.
    A candidate that is found in the routing then is taken out of it: nothing is known of its evidence.
    """
    stored = RolloutState.model_validate(status["state"]) if status.get("state") is not None else None
    if stored is not None and routing is None and stored.stable is not None and stored.epoch <= last_epoch:
        # Somebody removed the routing past the operator, or wrote one that is not understood: it is published anew.
        return stored.model_copy(update={"epoch": last_epoch + 1})
    if stored is not None and (routing is None or routing.epoch <= stored.epoch):
        return stored
    if routing is None:
        return RolloutState(deployment=deployment, epoch=last_epoch)
    stable = next(arm for arm in routing.arms if arm.role == "stable")
    candidate = next((arm for arm in routing.arms if arm.role == "candidate"), None)
    what = "lost" if stored is None else "older than the routing"
    message = f"The status was {what}; version {stable.version} serves by the routing in force."
    if candidate is not None:
        message = f"{message} Version {candidate.version} was taken out of it."
    return RolloutState(
        deployment=deployment,
        stable=stable.version,
        epoch=routing.epoch + (1 if candidate is not None else 0),
        rejected=stored.rejected if stored is not None else {},
        done_actions=stored.done_actions if stored is not None else (),
        history=stored.history if stored is not None else (),
        reason="Recovered",
        message=message,
    )


def eta_seconds(state: RolloutState, seen: Observation) -> int | None:
    """Seconds until the planned evidence is there at current traffic, bake included; None when unknown."""
    attempt, rate = state.attempt, seen.situation.pairs_per_second if seen.situation is not None else None
    if attempt is None or state.phase not in MOVING:
        return None
    if state.phase == "Baking":
        return attempt.plan.bake_seconds
    if not rate:
        return None
    pairs = attempt.judgement.pairs if attempt.judgement is not None else 0
    durations = sum(step.min_duration_seconds for step in attempt.plan.steps[max(0, attempt.step) :])
    seconds = max(durations, max(0, planned_pairs(attempt.plan) - pairs) / rate) + attempt.plan.bake_seconds
    return math.ceil(seconds / _ETA_ROUNDED_TO) * _ETA_ROUNDED_TO


def _conditions(
    state: RolloutState,
    generation: int,
    trouble: str | None,
    seen: Observation,
    before: dict[str, Any],
    now: datetime | None,
    available: Availability,
) -> list[dict[str, Any]]:
    degraded = trouble or (available.problem if state.stable else "") or seen.trouble
    found: list[tuple[ConditionType, bool | None, str, str]] = [
        ("Ready", *_ready(state, available)),
        (
            "Progressing",
            state.phase in ACTIVE - {"Paused"} or state.phase == "RollingBack",
            state.reason,
            state.message,
        ),
        ("Paused", state.phase == "Paused", state.reason if state.phase == "Paused" else "NotPaused", state.message),
        ("Degraded", degraded is not None, "Trouble" if degraded else "AllAnswer", degraded or "All parts answer."),
    ]
    known = before.get("conditions", ())
    return [condition(kind, holds, reason, message, generation, known, now) for kind, holds, reason, message in found]


def _ready(state: RolloutState, available: Availability) -> tuple[bool | None, str, str]:
    """Whether a version serves, the reason, and a sentence."""
    if state.stable is None:
        return False, state.reason, "No version serves yet."
    if available.serves:
        return True, "Serving", f"Version {state.stable} serves."
    return available.serves, ENGINE_SILENT if available.serves is None else ENGINE_DOWN, available.problem


def condition(
    kind: ConditionType,
    holds: bool | None,
    reason: str,
    message: str,
    generation: int,
    before: Sequence[Mapping[str, Any]],
    now: datetime | None,
) -> dict[str, Any]:
    """A condition, with the time since which it holds, does not or (None) is not known: `now`, unless it was so
    before."""
    status: Literal["True", "False", "Unknown"] = "Unknown" if holds is None else "True" if holds else "False"
    old = next((item for item in before if item["type"] == kind and item["status"] == status), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=old["last_transition_time"] if old is not None else now,
    ).model_dump(mode="json")


def _line(transition: Transition) -> dict[str, Any]:
    return transition.model_dump(mode="json")
