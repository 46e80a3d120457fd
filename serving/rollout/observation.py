"""What the controller sees of the world before it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.rollout.evidence import Evidence
from serving.rollout.preflight import Candidate, Situation
from serving.rollout.state import OperatorAction
from tidegate.domain.resources import RolloutPlan


@dataclass(frozen=True, slots=True)
class EngineView:
    """The engine as it is.

    Attributes:
        known: whether the engine answered; without that nothing is concluded from what is absent.
        ready: every replica holds every adapter that was asked for.
        adapters: versions of this deployment's model that are loaded.
    """

    known: bool = False
    ready: bool = False
    adapters: tuple[str, ...] = ()
    max_adapters: int = 4
    message: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything `decide` looks at beside the state and the time.

    Attributes:
        plan: of the ModelDeployment as it is now; a running attempt keeps the one it began with.
        nominated: the version that the source names; None when there is none or the registry does not answer.
        awaited: the address that nominates, for people: 'banking-intent@challenger'.
        trouble: a sentence when a part does not answer or a resource is bad; decisions then wait.
        routing_epoch: of the routing table that is published.
        routed: the versions in that table, and the percentage of users that each gets.
        acks: fresh gateways and the epoch each has in force.
        scoring: whether a scorer of pairs is at work.
        evidence: of the running attempt.
        evidence_known: False while the place where evidence lies does not answer: nothing is then judged by it.
        operator: what people asked for, oldest first.
        requested_by: who asked for what is nominated, where that is known.
    """

    plan: RolloutPlan
    nominated: Candidate | None = None
    awaited: str = ""
    situation: Situation | None = None
    trouble: str | None = None
    engine: EngineView = field(default_factory=EngineView)
    routing_epoch: int = 0
    routed: Mapping[str, float] = field(default_factory=dict)
    scoring: bool = True
    acks: dict[str, int] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    evidence_known: bool = True
    operator: tuple[OperatorAction, ...] = ()
    requested_by: tuple[str, ...] = ()
    champion: str | None = None
    champion_known: bool = False
