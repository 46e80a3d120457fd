"""Any sequence of events: nominations, people, evidence, parts that fail, crashes. The invariants hold in all of them.

`TIDEGATE_STATEFUL_EXAMPLES` sets the number of sequences (CI runs a few seconds' worth; the proof runs 10,000).
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.rollout.operator_actions import REFUSED
from tests.unit.rollout.invariants import Checks, never_stuck
from tests.unit.rollout.simulation import PLANS, Nature, Simulation

_PEOPLE = st.sampled_from(["ada", "bob"])
_ACTIONS = st.sampled_from(["approve", "promote", "abort", "pause", "resume"])
_NATURES: st.SearchStrategy[Nature] = st.sampled_from(
    ["better", "better", "better", "equal", "worse", "silent", "failing"]
)
_PLANS = st.sampled_from(sorted(PLANS))


class Rollouts(RuleBasedStateMachine):
    """A world of one deployment; a crash loses everything but what was recorded."""

    @initialize(
        first=st.sampled_from([False, False, True]), plan=_PLANS, number=st.sampled_from([None, "2"]), nature=_NATURES
    )
    def start(self, first: bool, plan: str, number: str | None, nature: Nature) -> None:
        self.sim = Simulation(first=first)
        self.sim.plan = plan
        self.checks = Checks(self.sim)
        self.nominate(number, nature, gate=True)
        self.a_quiet_while(2, mended=True)

    @rule(
        seconds=st.sampled_from([0.5, 3, 20, 700]),
        crash=st.sampled_from(["no", "no", "before recording", "before acting", "half-way"]),
    )
    def tick(self, seconds: float, crash: Any) -> None:
        self.checks.recorded(self.sim.round(seconds, crash))

    @rule(rounds=st.integers(2, 25), mended=st.booleans())
    def a_quiet_while(self, rounds: int, mended: bool) -> None:
        """Nothing special happens: without this a random sequence would seldom come as far as a promotion."""
        if mended:
            self.sim.mend()
        for _ in range(rounds):
            self.sim.traffic()
            self.tick(3, "no")
            self.sim.gateways_take_over()
            if mended and self.sim.state.reason == "ApprovalRequired":
                self.sim.ask("approve", "carol")

    # --- people -------------------------------------------------------------------------------------------------------

    @rule(
        number=st.sampled_from(["1", "2", "3", "4", "5", None]),
        nature=_NATURES,
        gate=st.sampled_from([True, True, True, False]),
    )
    def nominate(self, number: str | None, nature: Nature, gate: bool) -> None:
        if number is not None and number not in self.sim.natures:  # what a version is like it is once and for all
            self.sim.natures[number] = nature
            if not gate:
                self.sim.failed_gate.add(number)
        self.sim.nominated = number

    @rule(asked=st.lists(st.tuples(_ACTIONS, _PEOPLE), min_size=1, max_size=3))
    def ask(self, asked: list[tuple[Any, str]]) -> None:
        for action, by in asked:
            self.sim.ask(action, by)

    @rule(action=_ACTIONS, by=_PEOPLE)
    def ask_of_the_rollout_at_hand(self, action: Any, by: str) -> None:
        attempt = self.sim.state.attempt
        self.sim.ask(action, by, attempt.id if attempt is not None else "d-v9-999")

    @rule(action=_ACTIONS, by=_PEOPLE)
    def ask_of_an_old_rollout(self, action: Any, by: str) -> None:
        """Somebody answers yesterday's message."""
        ended = [table.rollout for table in self.sim.tables if table.rollout is not None]
        current = self.sim.state.attempt.id if self.sim.state.attempt is not None else None
        old = next((rollout for rollout in ended if rollout != current), "d-v9-999")
        self.checks.to_refuse.add(self.sim.ask(action, by, old))

    @rule(plan=_PLANS, by=st.sampled_from([(), ("ada",), ("bob",)]))
    def edit_the_plan(self, plan: str, by: tuple[str, ...]) -> None:
        self.sim.plan, self.sim.requested_by = plan, by

    @rule(again=st.booleans())
    def delete(self, again: bool) -> None:
        self.sim.delete()
        self.sim.exists = again

    @rule()
    def restore_a_backup_without_status(self) -> None:
        self.sim.status = {}

    # --- evidence -----------------------------------------------------------------------------------------------------

    @rule(pairs_scored=st.integers(0, 40), stable_fails=st.booleans())
    def traffic(self, pairs_scored: int, stable_fails: bool) -> None:
        self.sim.traffic(pairs_scored, stable_fails)

    @rule(outcomes=st.sampled_from(["?" * 25, "c" * 25, "s" * 25, "cs" * 10]))
    def scores_are_missing(self, outcomes: str) -> None:
        attempt = self.sim.state.attempt
        in_force = self.sim.routing.rollout if self.sim.routing is not None else None
        if attempt is not None and attempt.current is not None and attempt.id == in_force:
            self.sim.pair(attempt.id, attempt.current.name, outcomes)

    @rule(metric=st.sampled_from(["exact-match", "error-rate"]))
    def a_metric_is_not_measured_any_more(self, metric: str) -> None:
        self.sim.measured -= {metric}

    # --- parts --------------------------------------------------------------------------------------------------------

    @rule(fault=st.sampled_from(["registry", "database", "engine", "scorer"]))
    def a_part_goes_away(self, fault: str) -> None:
        self.sim.faults.add(fault)

    @rule()
    def all_parts_answer(self) -> None:
        self.sim.mend()

    @rule()
    def the_engine_starts_again_without_adapters(self) -> None:
        self.sim.loaded.clear()

    @rule(what=st.sampled_from(["take over", "one joins late", "vanish"]))
    def gateways(self, what: str) -> None:
        if what == "take over":
            self.sim.gateways_take_over()
        elif what == "one joins late":
            self.sim.gateways["h"] = max(0, self.sim.last_epoch - 1)
        else:
            self.sim.gateways = {}

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def epochs_only_grow(self) -> None:
        if hasattr(self, "sim"):
            epochs = [table.epoch for table in self.sim.tables]
            assert epochs == sorted(set(epochs))

    @invariant()
    def an_untested_version_never_gets_a_request(self) -> None:
        if hasattr(self, "sim") and self.sim.routing is not None:
            assert not {arm.version for arm in self.sim.routing.arms} & self.sim.failed_gate

    @invariant()
    def every_request_of_a_person_is_answered_once(self) -> None:
        if hasattr(self, "sim"):
            for asked, said in self.sim.answers.items():
                assert len(said) == (0 if asked in self.sim.pending else 1)
                assert asked not in self.checks.to_refuse or all(REFUSED in answer for answer in said)

    def teardown(self) -> None:
        if hasattr(self, "sim"):
            never_stuck(self.sim)


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=int(os.environ.get("TIDEGATE_STATEFUL_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
