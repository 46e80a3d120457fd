"""The state of one deployment's rollouts: a value that survives any crash, because it is all there is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from serving.rollout.verdicts import Judgement
from tidegate.domain.base import Contract, UtcTime
from tidegate.domain.release import engine_of
from tidegate.domain.resources import RolloutPlan, RolloutStep

Phase = Literal[
    "Pending",
    "Preflight",
    "Shadow",
    "Step",
    "Baking",
    "Succeeded",
    "RollingBack",
    "RolledBack",
    "Paused",
]
"""`Pending`: nothing nominated yet. `Shadow` is a step of weight 0, `Step` one with users on the candidate."""

MOVING: frozenset[Phase] = frozenset({"Shadow", "Step", "Baking"})
"""Phases in which the candidate may get requests, users' or mirrored ones."""
ACTIVE: frozenset[Phase] = MOVING | {"Preflight", "Paused"}
"""Phases with a candidate whose fate is open."""

_BACK = (
    "HarmFound",
    "Superseded",
    "DeadlinePassed",
    "MaxPairsReached",
    "ExperimentConcluded",
    "Aborted",
    "AbortedAfterPromotion",
)
_GOES_ON = ("Resumed", "Approved")
DECISIONS: dict[Phase, tuple[str, ...]] = {
    "Pending": ("Superseded",),
    "Preflight": ("Nominated", "Retried", *_GOES_ON),
    "Shadow": ("StepStarted", *_GOES_ON),
    "Step": ("StepStarted", *_GOES_ON),
    "Baking": ("GatesPassed", "PromotedByOperator", "Resumed"),
    "Succeeded": ("InitialDeployment", "Promoted"),
    "RollingBack": _BACK,
    "RolledBack": _BACK,
    "Paused": ("PausedByOperator", "DeadlinePassed", "MaxPairsReached"),
}
"""For what reasons a phase is entered. Beside them `ActionRefused` is on record in every phase, which stays."""

HISTORY_KEPT = 40
"""Transitions kept in the status; the ledger keeps all."""


class OperatorAction(Contract):
    """What a person asked for; who asked is part of it."""

    id: str
    deployment: str
    action: Literal["approve", "promote", "abort", "pause", "resume"]
    by: str
    reason: str = ""
    time: UtcTime
    rollout: str | None = Field(default=None, description="the attempt that is meant; a later one refuses")


class Transition(Contract):
    """One step of the history: from where to where, when and why."""

    time: UtcTime
    rollout: str
    from_phase: Phase
    to_phase: Phase
    step: str | None
    weight: float
    reason: str = Field(description="CamelCase code; docs/rollouts.md says of each what to do")
    message: str = Field(description="a sentence for an on-call engineer")
    by: str = "controller"
    epoch: NonNegativeInt = Field(default=0, description="of the routing that the state wants from here on")
    action: str | None = Field(default=None, description="id of the operator action that this answers")


class Attempt(Contract):
    """One rollout: a candidate, the plan frozen at its start, and how far it has come."""

    id: str = Field(description="'<deployment>-v<candidate>-<epoch>': also the salt of its routing")
    candidate: str
    plan: RolloutPlan
    started_at: UtcTime
    deadline_from: UtcTime = Field(description="a resume after a pause grants a new deadline from here")
    step: int = Field(default=-1, description="index of the current step; -1 before the first")
    step_since: UtcTime | None = Field(default=None, description="when every gateway had acknowledged the step")
    baking_since: UtcTime | None = None
    approved_step: int = Field(default=-1, description="highest step that a person has approved")
    cleared: bool = Field(default=False, description="no check forbids to load the candidate: it is trusted and fits")
    requested_by: tuple[str, ...] = Field(default=(), description="who asked for this attempt, as far as it is known")
    passed: str | None = Field(default=None, description="the recorded pass, or who promoted by hand")
    concluded: str | None = Field(default=None, description="an experiment's recorded estimates, once it has ended")
    judgement: Judgement | None = None

    def awaits_approval(self, step: int) -> bool:
        """Whether a person has to let the step begin and nobody has."""
        return self.plan.steps[step].approval != "None" and self.approved_step < step

    @property
    def current(self) -> RolloutStep | None:
        return self.plan.steps[self.step] if self.step >= 0 else None


class RolloutState(Contract):
    """All that the controller knows of one deployment. `decide` makes the next one."""

    schema_version: Literal[1] = 1
    deployment: str
    phase: Phase = "Pending"
    stable: str | None = None
    previous: str | None = Field(default=None, description="the version before the last promotion; kept loaded")
    attempt: Attempt | None = None
    paused_from: Phase | None = None
    epoch: NonNegativeInt = Field(
        default=0, description="of the routing that this state wants; grows with every change"
    )
    weight: float = Field(default=0.0, description="percent of users on the candidate")
    mirror: bool = False
    rejected: dict[str, str] = Field(default={}, description="versions that were rolled back, and why")
    done_actions: tuple[str, ...] = Field(default=(), description="ids of the operator actions already answered")
    reason: str = "NothingNominated"
    message: str = "No version is nominated yet."
    changed_at: UtcTime | None = None
    history: tuple[Transition, ...] = ()

    @property
    def candidate(self) -> str | None:
        """The version that may get requests or is being prepared."""
        return self.attempt.candidate if self.attempt and self.phase in ACTIVE else None


class RoutingWish(Contract):
    """The routing that a state wants; the controller makes a RoutingTable of it."""

    epoch: NonNegativeInt
    salt: str
    rollout: str | None
    step: str | None
    stable: str
    candidate: str | None
    candidate_weight: float
    mirror_percent: float
    mirror_concurrency: int


class Wish(Contract):
    """Everything outside that a state wants, whatever is there now: what a restarted controller drives towards."""

    routing: RoutingWish | None
    adapters: tuple[str, ...] = Field(description="versions that the engine shall hold, most important first")
    champion: str | None


def wish(state: RolloutState) -> Wish:
    """What the world shall look like in this state."""
    candidate = state.candidate if _may_load(state) else None
    adapters = [version for version in (state.stable, candidate, _kept(state)) if version is not None]
    return Wish(routing=_routing(state), adapters=tuple(dict.fromkeys(adapters)), champion=state.stable)


def _may_load(state: RolloutState) -> bool:
    """Whether the candidate's files may reach the engine: in preflight only once they are trusted and fit."""
    in_preflight = "Preflight" in {state.phase, state.paused_from}
    return not in_preflight or (state.attempt is not None and state.attempt.cleared)


def _kept(state: RolloutState) -> str | None:
    """The previous version, unless keeping it after the rollout would cost an engine of its own."""
    if state.previous is None or state.stable is None or state.phase in ACTIVE | {"RollingBack"}:
        return state.previous
    return state.previous if engine_of(state.previous) == engine_of(state.stable) else None


def _routing(state: RolloutState) -> RoutingWish | None:
    if state.stable is None or state.epoch == 0:
        return None
    attempt = state.attempt
    routed = attempt is not None and state.candidate is not None and (state.mirror or state.weight > 0)
    mirror = attempt.plan.mirror if attempt is not None else None
    step = attempt.current.name if attempt is not None and routed and attempt.current is not None else None
    return RoutingWish(
        epoch=state.epoch,
        salt=attempt.id if attempt is not None else state.deployment,
        rollout=attempt.id if attempt is not None and routed else None,
        step=step,
        stable=state.stable,
        candidate=state.candidate if routed else None,
        candidate_weight=state.weight if routed else 0.0,
        mirror_percent=float(mirror.percent) if mirror is not None and routed and state.mirror else 0.0,
        mirror_concurrency=mirror.max_concurrency if mirror is not None else 8,
    )
