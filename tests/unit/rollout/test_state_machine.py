"""Any sequence of events: nominations, people, evidence, gateways, crashes. The invariants hold in all of them.

`TIDEGATE_STATEFUL_EXAMPLES` sets the number of sequences (CI runs a few seconds' worth; the proof runs 10,000).
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.rollout.actions import LoadAdapter, PublishRouting, UnloadAdapter
from serving.rollout.decide import decide
from serving.rollout.observation import EngineView
from serving.rollout.preflight import Candidate, Situation
from serving.rollout.state import ACTIVE, OperatorAction, RolloutState
from tests.unit.rollout.builders import START, evidence, pairs, plan, runtime, seen, version, window

_PLAN = plan(
    steps=[
        {"name": "shadow", "weight": 0, "minPairs": 10},
        {"name": "small", "weight": 10, "minPairs": 5},
        {"name": "half", "weight": 50, "minPairs": 5, "approval": "Required"},
    ],
    maxPairs=150,
)


class Rollouts(RuleBasedStateMachine):
    """A world of one deployment; a crash loses everything but what was recorded."""

    @initialize(first=st.booleans())
    def start(self, first: bool) -> None:
        self.now = START
        self.recorded = RolloutState(deployment="d") if first else RolloutState(deployment="d", stable="1", epoch=1)
        self.loaded: set[str] = set() if first else {"1"}
        self.published = 0 if first else 1
        self.routes: dict[str, float] = {} if first else {"1": 100.0}
        self.gateways = {"g": self.published}
        self.nominated: str | None = None
        self.bad_gate: set[str] = set()
        self.events: dict[str, list[Any]] = {}
        self.windows: dict[str, list[Any]] = {}
        self.people: list[OperatorAction] = []
        self.weights: dict[str, list[float]] = {}
        self.aborted: dict[str, str] = {}
        self.published_epochs: list[int] = []

    def observe(self) -> Any:
        attempt = self.recorded.attempt
        key = attempt.id if attempt else ""
        stable = version(self.recorded.stable) if self.recorded.stable else None
        candidate = version(self.nominated, gate=self.nominated not in self.bad_gate) if self.nominated else None
        return seen(
            None,
            plan=_PLAN,
            nominated=Candidate(candidate) if candidate else None,
            situation=Situation(runtime=runtime(), stable=stable, measured=frozenset({"exact-match", "error-rate"})),
            engine=EngineView(known=True, ready=True, adapters=tuple(sorted(self.loaded))),
            routing_epoch=self.published,
            acks=dict(self.gateways),
            evidence=evidence(self.events.get(key, []), self.windows.get(key, [])),
            operator=tuple(self.people),
            champion_known=False,
        )

    @rule(seconds=st.sampled_from([0.5, 3, 20, 700]), crash=st.sampled_from(["no", "before acting", "half-way"]))
    def tick(self, seconds: float, crash: str) -> None:
        self.now += timedelta(seconds=seconds)
        before = self.recorded
        decision = decide(before, self.observe(), self.now)
        self.check_step(before, decision.state)
        self.recorded = RolloutState.model_validate_json(decision.state.model_dump_json())
        acts = list(decision.actions)
        keep = {"no": len(acts), "before acting": 0, "half-way": len(acts) // 2}[crash]
        for action in acts[:keep]:
            self.act(action)

    def act(self, action: Any) -> None:
        if isinstance(action, LoadAdapter):
            self.loaded.add(action.version)
        elif isinstance(action, UnloadAdapter):
            assert action.version not in {v for v, weight in self.routes.items() if weight > 0}
            self.loaded.discard(action.version)
        elif isinstance(action, PublishRouting):
            routing = action.routing
            assert routing.epoch > self.published
            self.published = routing.epoch
            self.published_epochs.append(routing.epoch)
            self.routes = {routing.stable: 100.0 - routing.candidate_weight}
            if routing.candidate is not None:
                self.routes[routing.candidate] = routing.candidate_weight
                self.weights.setdefault(routing.rollout or "", []).append(routing.candidate_weight)

    def check_step(self, before: RolloutState, after: RolloutState) -> None:
        if after.stable != before.stable and after.phase == "Succeeded":
            assert after.attempt is not None
            assert after.attempt.passed, "promoted without a recorded pass"
            assert after.attempt.candidate not in self.bad_gate
        assert after.epoch >= before.epoch
        started = after.attempt is not None and (before.attempt is None or before.attempt.id != after.attempt.id)
        if started and after.attempt is not None and after.attempt.candidate in before.rejected:
            reasons = {made.reason for made in after.history if made.rollout == after.attempt.id}
            assert "Retried" in reasons, "a rolled back version was retried unasked"
        if after.history and after.history[-1].reason == "Aborted" and after.attempt is not None:
            self.aborted[after.attempt.id] = after.attempt.candidate

    @rule(outcomes=st.sampled_from(["+=+=", "+=+=", "-=-=", "===="]), rounds=st.integers(2, 12))
    def a_quiet_while(self, outcomes: str, rounds: int) -> None:
        """Nothing special happens: without this a random sequence would seldom come as far as a promotion."""
        for _ in range(rounds):
            self.answer(outcomes * 3, 0)
            self.tick(3, "no")
            self.gateways_take_over()

    @rule(number=st.sampled_from(["1", "2", "3", "4"]), gate=st.sampled_from([True, True, True, False]))
    def nominate(self, number: str, gate: bool) -> None:
        if not gate and number not in {self.recorded.stable, self.recorded.candidate}:
            self.bad_gate.add(number)
        self.nominated = number

    @rule(action=st.sampled_from(["approve", "promote", "abort", "pause", "resume"]))
    def ask(self, action: Any) -> None:
        number = len(self.people)
        self.people.append(OperatorAction(id=f"a{number}", deployment="d", action=action, by="ada", time=self.now))

    @rule(outcomes=st.sampled_from(["=" * 20, "+=" * 20, "-=" * 20, "?" * 20, "+-" * 10]), errors=st.integers(0, 6))
    def answer(self, outcomes: str, errors: int) -> None:
        attempt = self.recorded.attempt
        if attempt is None or attempt.current is None or self.recorded.phase not in ACTIVE | {"Baking"}:
            return
        events = self.events.setdefault(attempt.id, [])
        made = pairs(outcomes, attempt.current.name, first=len(events))
        events += [event.model_copy(update={"time": self.now}) for event in made]
        second = (self.now - START).total_seconds() - 10
        self.windows.setdefault(attempt.id, []).extend(
            [window("candidate", 20, errors, second=second), window("stable", 20, second=second)]
        )

    @rule()
    def gateways_take_over(self) -> None:
        self.gateways = dict.fromkeys(self.gateways, self.published) or {"g": self.published}

    @rule()
    def a_gateway_joins_late(self) -> None:
        self.gateways["h"] = max(0, self.published - 1)

    @rule()
    def gateways_vanish(self) -> None:
        self.gateways = {}

    @invariant()
    def weights_only_grow_in_a_rollout(self) -> None:
        for weights in getattr(self, "weights", {}).values():
            assert weights == sorted(weights)

    @invariant()
    def after_an_abort_the_candidate_gets_nothing(self) -> None:
        for attempt_id, candidate in getattr(self, "aborted", {}).items():
            attempt = self.recorded.attempt
            if attempt is not None and attempt.id == attempt_id and self.published >= self.recorded.epoch:
                assert self.routes.get(candidate, 0.0) == 0.0 or self.recorded.stable == candidate

    @invariant()
    def users_only_reach_loaded_versions(self) -> None:
        assert {v for v, weight in getattr(self, "routes", {}).items() if weight > 0} <= getattr(self, "loaded", set())

    @invariant()
    def an_untested_version_never_gets_a_request(self) -> None:
        assert not set(getattr(self, "routes", {})) & getattr(self, "bad_gate", set())

    @invariant()
    def epochs_only_grow(self) -> None:
        epochs = getattr(self, "published_epochs", [])
        assert epochs == sorted(set(epochs))


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=int(os.environ.get("TIDEGATE_STATEFUL_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
