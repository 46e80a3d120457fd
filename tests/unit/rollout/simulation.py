"""A platform in memory: what outlives a controller, what does not, and all that can be wrong around it.

`Simulation.round` is one round of the controller: read, observe, decide, record, act. What was not recorded is lost
with a crash; what was recorded and not acted on is acted on by the next round.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from serving.rollout.actions import LoadAdapter, PublishRouting, UnloadAdapter
from serving.rollout.decide import Decision, decide
from serving.rollout.observation import EngineView, Observation
from serving.rollout.preflight import Candidate, Situation
from serving.rollout.state import ACTIVE, OperatorAction, RolloutState
from serving.rollout.status import read_state
from serving.rollout.table import routing_table
from tests.unit.rollout.builders import START, evidence, pairs, plan, runtime, version, window
from tidegate.domain.evidence import ArmWindow, PairEvent
from tidegate.domain.resources import RolloutPlan
from tidegate.domain.routing import RoutingTable
from tidegate.domain.version import ModelVersion

Crash = Literal["no", "before recording", "before acting", "half-way"]
Nature = Literal["better", "equal", "worse", "silent", "failing"]
"""What a version is like: `silent` answers that no scorer can score, `failing` ones with errors."""

_OUTCOMES: dict[Nature, str] = {"better": "+=", "equal": "====+-", "worse": "-=-", "silent": "?", "failing": "-"}
RUNTIME = runtime(maxAdapters=3)
SHADOW = {"name": "shadow", "weight": 0, "minPairs": 10}
PLANS: dict[str, RolloutPlan] = {
    "approved": plan(
        steps=[
            SHADOW,
            {"name": "small", "weight": 10, "minPairs": 5},
            {"name": "half", "weight": 50, "minPairs": 5, "approval": "Required"},
        ],
        maxPairs=150,
    ),
    "alone": plan(steps=[SHADOW, {"name": "half", "weight": 50, "minPairs": 5}], maxPairs=150),
    "strict": plan(
        steps=[SHADOW, {"name": "half", "weight": 50, "minPairs": 5, "approval": "SecondPerson"}],
        maxPairs=150,
        onInconclusive="Rollback",
    ),
}


@lru_cache
def made(number: str, gate: bool = True) -> ModelVersion:
    """A version of the registry, found better than all others offline; versions never change."""
    one = version(number, gate=gate)
    found = one.report.comparisons[0]
    all_others = tuple(found.model_copy(update={"baseline": f"banking-intent/{n}"}) for n in range(1, 10))
    return one.model_copy(update={"report": one.report.model_copy(update={"comparisons": all_others})})


class Simulation:
    """One deployment's world."""

    def __init__(self, *, first: bool) -> None:
        self.now: datetime = START
        # What outlives a controller.
        self.status: dict[str, Any] = {} if first else {"state": serving_one()}
        self.routing: RoutingTable | None = None
        self.last_epoch = 0
        self.loaded: set[str] = set()
        self.pending: dict[str, OperatorAction] = {}
        self.answers: dict[str, list[str]] = {}
        self.events: dict[str, list[PairEvent]] = {}
        self.windows: dict[str, list[ArmWindow]] = {}
        # What people and parts do.
        self.exists = True
        self.plan = "approved"
        self.requested_by: tuple[str, ...] = ()
        self.nominated: str | None = None
        self.natures: dict[str, Nature] = {"1": "equal"}
        self.failed_gate: set[str] = set()
        self.gateways: dict[str, int] = {"g": 0}
        self.measured = frozenset({"exact-match", "error-rate"})
        self.faults: set[str] = set()
        self.asked = 0
        # What has happened.
        self.tables: list[RoutingTable] = []
        self.reasons: Counter[str] = Counter()

    def fork(self) -> Simulation:
        """The same world once more, to ask what would happen if."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | set | list | Counter):
                setattr(other, name, copy.copy(value))
        other.events = {key: list(kept) for key, kept in self.events.items()}
        other.windows = {key: list(kept) for key, kept in self.windows.items()}
        return other

    @property
    def state(self) -> RolloutState:
        return read_state("d", self.status, self.routing, self.last_epoch)

    @property
    def shares(self) -> dict[str, float]:
        """Version -> percent of users."""
        return {arm.version: arm.weight for arm in self.routing.arms if arm.weight > 0} if self.routing else {}

    # --- one round ----------------------------------------------------------------------------------------------------

    def observe(self, state: RolloutState) -> Observation:
        attempt = state.attempt
        key = attempt.id if attempt is not None and state.phase in ACTIVE else ""
        registry, database = "registry" not in self.faults, "database" not in self.faults
        nominated = made(self.nominated, self.nominated not in self.failed_gate) if self.nominated else None
        situation = Situation(
            runtime=RUNTIME, stable=made(state.stable) if state.stable else None, measured=self.measured
        )
        engine = "engine" not in self.faults
        return Observation(
            plan=PLANS[self.plan],
            nominated=Candidate(nominated) if nominated is not None and registry else None,
            awaited="m@challenger",
            situation=situation if registry and database else None,
            trouble=None if registry and database else "a part does not answer; see its log",
            engine=EngineView(
                known=engine,
                ready=engine,
                adapters=tuple(sorted(self.loaded)) if engine else (),
                max_adapters=RUNTIME.engine.max_adapters,
            ),
            routing_epoch=self.routing.epoch if self.routing is not None else 0,
            routed={arm.version: arm.weight for arm in self.routing.arms} if self.routing is not None else {},
            scoring="scorer" not in self.faults,
            acks=dict(self.gateways),
            evidence=evidence(self.events.get(key, []), self.windows.get(key, [])) if database else evidence(),
            evidence_known=database,
            operator=tuple(self.pending.values()),
            requested_by=self.requested_by,
            champion_known=False,
        )

    def round(self, seconds: float = 0.5, crash: Crash = "no") -> tuple[RolloutState, Decision] | None:
        """The state before and the decision that was recorded; None when nothing was."""
        self.now += timedelta(seconds=seconds)
        if not self.exists:
            return None
        before = self.state
        decision = decide(before, self.observe(before), self.now)
        if crash == "before recording":
            return None
        self.status = {"state": decision.state.model_dump(mode="json")}
        for asked, said in decision.answers.items():
            self.answers[asked].append(said)
            del self.pending[asked]
        self.reasons.update(transition.reason for transition in decision.transitions)
        self.reasons[decision.state.reason] += 1
        acts = list(decision.actions)
        for action in acts[: {"no": len(acts), "before acting": 0, "half-way": len(acts) // 2}[crash]]:
            self.act(action)
        return before, decision

    def act(self, action: Any) -> None:
        if isinstance(action, LoadAdapter) and "engine" not in self.faults:
            self.loaded.add(action.version)
        elif isinstance(action, UnloadAdapter):
            self.loaded.discard(action.version)
        elif isinstance(action, PublishRouting):
            wish = action.routing
            numbers = {wish.stable} | ({wish.candidate} if wish.candidate is not None else set())
            known = {number: made(number) for number in numbers}
            targets = dict.fromkeys(numbers, "http://engine")
            self.routing = routing_table(wish, "d", known, targets, self.routing, self.now)
            self.last_epoch = self.routing.epoch
            self.tables.append(self.routing)

    # --- what people do -----------------------------------------------------------------------------------------------

    def ask(self, action: Any, by: str, rollout: str | None = None) -> str:
        asked = f"a{self.asked:05}"  # ids sort by time, as those of the platform do
        self.asked += 1
        self.answers[asked] = []
        self.pending[asked] = OperatorAction(
            id=asked, deployment="d", action=action, by=by, time=self.now, rollout=rollout
        )
        return asked

    def delete(self) -> None:
        """The deployment is gone, with its status and routing; epochs go on from the last one."""
        self.exists, self.status, self.routing = False, {}, None
        self.loaded.clear()

    # --- what parts do ------------------------------------------------------------------------------------------------

    def traffic(self, pairs_scored: int = 12, stable_fails: bool = False) -> None:
        """Users ask; mirrored turns are scored. What comes of it is what the two versions are like."""
        attempt = self.state.attempt
        if self.routing is None or attempt is None or self.routing.rollout != attempt.id or attempt.current is None:
            return
        nature = self.natures[attempt.candidate]
        outcomes = "+" * pairs_scored if stable_fails and nature in {"better", "equal"} else _OUTCOMES[nature]
        self.pair(attempt.id, attempt.current.name, (outcomes * pairs_scored)[:pairs_scored])
        second = (self.now - START).total_seconds() - 10
        failing = 20 if nature == "failing" else 0
        self.windows.setdefault(attempt.id, []).extend(
            window(arm.role, 20, {"stable": 20 * stable_fails, "candidate": failing}[arm.role], second=second)
            for arm in self.routing.arms
            if arm.weight > 0
        )

    def pair(self, rollout: str, step: str, outcomes: str) -> None:
        events = self.events.setdefault(rollout, [])
        made_now = pairs(outcomes, step, first=len(events))
        events += [event.model_copy(update={"time": self.now}) for event in made_now]

    def gateways_take_over(self, names: Sequence[str] = ()) -> None:
        epoch = self.routing.epoch if self.routing is not None else 0
        for gateway in names or self.gateways or ("g",):
            self.gateways[gateway] = max(epoch, self.gateways.get(gateway, 0))

    # --- a world in which everything works ----------------------------------------------------------------------------

    def mend(self) -> None:
        self.faults.clear()
        self.exists, self.measured = True, frozenset({"exact-match", "error-rate"})
        self.gateways = self.gateways or {"g": 0}

    def settle(self, rounds: int, *phases: str, traffic: bool = True) -> None:
        """Healthy rounds, until a phase is reached when phases are given."""
        for _ in range(rounds):
            if self.state.phase in phases:
                return
            self.round(3)
            self.gateways_take_over()
            if traffic:
                self.traffic()


def serving_one() -> dict[str, Any]:
    """A state in which version 1 serves and its routing is to be published."""
    return RolloutState(deployment="d", phase="Succeeded", stable="1", epoch=1).model_dump(mode="json")
