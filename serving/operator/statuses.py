"""Statuses between the controller's words and the API server's: camelCase, whole numbers, no floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.rollout.state import RolloutState
from serving.rollout.verdicts import Judgement
from tidegate.domain.resource_base import Resource, ResourceCondition
from tidegate.domain.resource_status import ModelDeploymentStatus, ModelRuntimeStatus, short_duration
from tidegate.domain.rollout_resources import ModelRolloutSpec, ModelRolloutStatus, RolloutVerdict
from tidegate.kube_codec import decimal_text, from_kube, to_kube

Json = dict[str, Any]
_ENDED = {"Succeeded", "RolledBack"}


def encode(kind: str, status: Mapping[str, Any], leader_epoch: int) -> Json:
    """The status that the controller made, as its kind's status subresource."""
    made = _runtime(status, leader_epoch) if kind == "ModelRuntime" else _deployment(status, leader_epoch)
    return to_kube(made)


def decode(kind: str, status: Mapping[str, Any]) -> Json:
    """What the controller reads of a status: its state, and since when the conditions hold.

    Raises:
        pydantic.ValidationError: the state is none that this release can read.
    """
    found: Json = {}
    conditions = [from_kube(ResourceCondition, item) for item in status.get("conditions", ())]
    if conditions:
        found["conditions"] = [item.model_dump(mode="json") for item in conditions]
    if kind == "ModelDeployment" and status.get("state"):
        found["state"] = from_kube(RolloutState, status["state"]).model_dump(mode="json")
        found["stable"] = status.get("stable")
    if kind == "ModelRuntime":
        known = from_kube(ModelRuntimeStatus, status)
        found |= {
            "observedGeneration": known.observed_generation,
            "url": known.url,
            "replicasReady": known.replicas_ready,
            "replicasWanted": known.replicas_wanted,
            "adapters": list(known.adapters),
        }
    return found


def rollout_spec(state: RolloutState, model: str) -> ModelRolloutSpec | None:
    """The frozen part of the state's attempt; None without one."""
    attempt = state.attempt
    if attempt is None:
        return None
    return ModelRolloutSpec(
        deployment=state.deployment,
        model=model,
        candidate=attempt.candidate,
        stable=state.previous if state.stable == attempt.candidate else state.stable,
        epoch=int(attempt.id.rpartition("-")[2]),
        plan=attempt.plan,
    )


def rollout_status(state: RolloutState, status: Mapping[str, Any], leader_epoch: int) -> Json:
    """How the state's attempt goes, as the status of its ModelRollout."""
    attempt = state.attempt
    made = ModelRolloutStatus(
        leader_epoch=leader_epoch,
        phase=state.phase,
        step=status.get("step"),
        weight=round(state.weight),
        pairs=int(status.get("pairs") or 0),
        eta_seconds=status.get("etaSeconds"),
        eta=_eta(status),
        reason=state.reason,
        message=state.message,
        started_at=attempt.started_at if attempt is not None else None,
        ended_at=state.changed_at if state.phase in _ENDED else None,
        verdicts=_verdicts(attempt.judgement if attempt is not None else None),
        conditions=_conditions(status),
    )
    return to_kube(made)


def _deployment(status: Mapping[str, Any], leader_epoch: int) -> Resource:
    state = status.get("state")
    return ModelDeploymentStatus(
        observed_generation=int(status.get("observedGeneration") or 0),
        leader_epoch=leader_epoch,
        phase=status.get("phase"),
        stable=status.get("stable"),
        candidate=status.get("candidate"),
        previous=status.get("previous"),
        rollout=status.get("rollout"),
        step=status.get("step"),
        weight=round(status.get("weight") or 0),
        epoch=int(status.get("epoch") or 0),
        pairs=int(status.get("pairs") or 0),
        eta_seconds=status.get("etaSeconds"),
        eta=_eta(status),
        reason=status.get("reason"),
        message=status.get("message"),
        conditions=_conditions(status),
        state=to_kube(RolloutState.model_validate(state)) if state is not None else None,
    )


def _runtime(status: Mapping[str, Any], leader_epoch: int) -> Resource:
    return ModelRuntimeStatus(
        observed_generation=int(status.get("observedGeneration") or 0),
        leader_epoch=leader_epoch,
        url=status.get("url"),
        replicas_ready=int(status.get("replicasReady") or 0),
        replicas_wanted=int(status.get("replicasWanted") or 0),
        adapters=tuple(status.get("adapters") or ()),
        message=str(status.get("message") or ""),
        conditions=_conditions(status),
    )


def _conditions(status: Mapping[str, Any]) -> tuple[ResourceCondition, ...]:
    return tuple(ResourceCondition.model_validate(item) for item in status.get("conditions", ()))


def _eta(status: Mapping[str, Any]) -> str | None:
    seconds = status.get("etaSeconds")
    return short_duration(int(seconds)) if seconds is not None else None


def _verdicts(judgement: Judgement | None) -> tuple[RolloutVerdict, ...]:
    return tuple(
        RolloutVerdict(
            metric=verdict.metric,
            mode=verdict.mode,
            outcome=verdict.outcome,
            reason=verdict.reason,
            numbers={name: decimal_text(value) for name, value in verdict.numbers.items()},
        )
        for verdict in (judgement.verdicts if judgement is not None else ())
    )
