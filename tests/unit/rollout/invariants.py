"""What must hold of every recorded decision, and from every state: nobody is ever stuck."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from serving.rollout.actions import PublishRouting, UnloadAdapter
from serving.rollout.decide import Decision
from serving.rollout.operator_actions import REFUSED
from serving.rollout.state import ACTIVE, DECISIONS, RolloutState, Transition
from tests.unit.rollout.simulation import Simulation

ROUNDS = 12
"""Within so many healthy rounds an abort has brought all users back."""
_NEVER_BY_EVIDENCE = {"worse", "silent", "failing"}


@lru_cache
def documented_reasons() -> frozenset[str]:
    """The reasons in the table of docs/rollouts.md."""
    text = (Path(__file__).parents[3] / "docs" / "rollouts.md").read_text(encoding="utf-8")
    table = text.split("## Reasons, and what to do")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return frozenset(reason for cell in cells for reason in re.findall(r"`(\w+)`", cell))


class Checks:
    """Looks at every decision that was recorded."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.to_refuse: set[str] = set()
        self.aborted: set[str] = set()
        self.weights: dict[str, list[float]] = {}
        self.allowed_by: dict[str, set[str]] = {}
        self.plans: dict[str, str] = {}

    def recorded(self, made: tuple[RolloutState, Decision] | None) -> None:
        if made is None:
            return
        before, decision = made
        for transition in decision.transitions:
            self._told(transition)
            self._who_allowed(transition, decision)
        assert decision.state.reason in documented_reasons(), decision.state.reason
        assert decision.state.epoch >= before.epoch
        self._promotion(before, decision)
        self._retry(before, decision)
        self._plan_is_frozen(decision.state)
        self._acts(before, decision)

    def _told(self, transition: Transition) -> None:
        assert transition.reason in documented_reasons(), transition.reason
        known = transition.reason in DECISIONS[transition.to_phase]
        stays = transition.reason == "ActionRefused" and transition.to_phase == transition.from_phase
        assert known or stays, f"{transition.to_phase} ({transition.reason}) is counted from 1 on"
        assert transition.message.endswith("."), transition.message
        assert transition.by
        if transition.reason in {"Aborted", "AbortedAfterPromotion"}:
            self.aborted.add(transition.rollout)

    def _who_allowed(self, transition: Transition, decision: Decision) -> None:
        if transition.reason in {"Approved", "PromotedByOperator"} and decision.state.attempt is not None:
            alone = transition.by in decision.state.attempt.requested_by and self._for_two(decision.state)
            # By hand whoever asked may promote too, once a second person has approved: see `_promotion`.
            assert not alone or transition.reason == "PromotedByOperator"
            self.allowed_by.setdefault(transition.rollout, set()).add(transition.by)

    def _for_two(self, state: RolloutState) -> bool:
        attempt = state.attempt
        return attempt is not None and any(step.approval == "SecondPerson" for step in attempt.plan.steps)

    def _promotion(self, before: RolloutState, decision: Decision) -> None:
        state, attempt = decision.state, decision.state.attempt
        reasons = {transition.reason for transition in decision.transitions}
        if reasons & {"GatesPassed", "PromotedByOperator", "InitialDeployment", "Promoted"}:
            assert attempt is not None
            assert attempt.passed, "promoted without a recorded pass"
            assert attempt.candidate not in self.sim.failed_gate
        if "GatesPassed" in reasons:
            assert attempt is not None
            assert self.sim.natures[attempt.candidate] not in _NEVER_BY_EVIDENCE
            assert "database" not in self.sim.faults, "promoted on evidence that was not read"
            assert attempt.judgement is not None
            assert attempt.judgement.all_pass
        if "PromotedByOperator" in reasons or "GatesPassed" in reasons:
            assert attempt is not None
            if self._for_two(state):
                others = self.allowed_by.get(attempt.id, set()) - set(attempt.requested_by)
                assert others, "a step for two people was passed by one"
        if state.stable != before.stable:
            assert reasons & {"InitialDeployment", "Promoted", "AbortedAfterPromotion"}

    def _retry(self, before: RolloutState, decision: Decision) -> None:
        after = decision.state.attempt
        started = after is not None and (before.attempt is None or before.attempt.id != after.id)
        if started and after is not None:
            if after.candidate in before.rejected:
                new = [transition.reason for transition in decision.transitions]
                assert "Retried" in new, "a version that was rolled back was tried again unasked"
            routed = {table.rollout for table in self.sim.tables}
            assert after.id not in routed, "two attempts that got requests share an id, and with it their evidence"
            self.plans[after.id] = ""
            self.aborted.discard(after.id)  # a status that was lost before anything was published

    def _plan_is_frozen(self, state: RolloutState) -> None:
        attempt = state.attempt
        if attempt is not None and attempt.step >= 0:
            text = attempt.plan.model_dump_json()
            assert self.plans.get(attempt.id) in {"", None, text}, "the plan of a running rollout has changed"
            self.plans[attempt.id] = text

    def _acts(self, before: RolloutState, decision: Decision) -> None:
        state = decision.state
        for action in decision.actions:
            if isinstance(action, UnloadAdapter):
                assert action.version not in self.sim.shares or self.sim.shares[action.version] == 0
                assert action.version not in {state.stable, state.candidate}
            if not isinstance(action, PublishRouting):
                continue
            wanted = action.routing
            if wanted.rollout is not None:
                assert wanted.rollout not in self.aborted, "after an abort the candidate got requests"
                weights = self.weights.setdefault(wanted.rollout, [])
                assert not weights or wanted.candidate_weight >= weights[-1], "a weight fell within a rollout"
                weights.append(wanted.candidate_weight)
            if wanted.candidate_weight > 0 and "engine" not in self.sim.faults:
                grown = wanted.candidate_weight > self.share_before(wanted.candidate or "")
                assert wanted.candidate in self.sim.loaded or not grown, "more users for a version that is not loaded"

    def share_before(self, number: str) -> float:
        earlier = self.sim.tables[-2:-1] if self.sim.routing is not None and self.sim.tables else []
        return {arm.version: arm.weight for table in earlier for arm in table.arms}.get(number, 0.0)


# --- from every state ------------------------------------------------------------------------------------------------


def never_stuck(sim: Simulation) -> None:
    """From here, in a world that works: an abort ends it, and a good version gets through."""
    an_abort_brings_users_back(sim.fork())
    a_good_version_gets_through(sim.fork())


def an_abort_brings_users_back(sim: Simulation) -> None:
    sim.mend()
    sim.nominated = None
    asked = sim.ask("abort", "carol")
    serving = sim.state.phase in ACTIVE or sim.state.phase == "RollingBack"
    sim.settle(ROUNDS, traffic=False)
    state = sim.state
    assert sim.answers[asked], "an abort was not answered"
    if state.stable is not None:
        assert sim.shares == {state.stable: 100.0}, state.message
    assert state.phase not in ACTIVE, state.message
    if serving:
        assert state.phase == "RolledBack", state.message


def a_good_version_gets_through(sim: Simulation) -> None:
    """It is promoted, by evidence and with what people do when the state tells them to."""
    sim.mend()
    sim.natures["9"] = "better"
    sim.nominated, sim.plan, sim.requested_by = "9", "alone", ("ada",)
    for _ in range(8):
        sim.settle(30, "Paused")
        state = sim.state
        if state.stable == "9":
            return
        if state.phase == "Paused":
            assert "tidegate rollout" in state.message, f"it does not say what to do: {state.message}"
            sim.ask("abort" if state.candidate != "9" else "resume", "carol")
            sim.settle(2)
        elif state.reason == "ApprovalRequired":
            assert "tidegate rollout approve" in state.message
            asked = sim.ask("approve", "carol")
            sim.settle(2)
            assert REFUSED not in sim.answers[asked][0], sim.answers[asked]
    raise AssertionError(f"stuck in {sim.state.phase} ({sim.state.reason}): {sim.state.message}")
