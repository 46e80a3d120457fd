"""The state machine, situation by situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from serving.rollout.actions import LoadAdapter, PublishRouting, SetAlias, UnloadAdapter
from serving.rollout.decide import Decision, decide
from serving.rollout.observation import EngineView, Observation
from serving.rollout.preflight import Candidate, Situation
from serving.rollout.state import OperatorAction, RolloutState, wish
from tests.unit.rollout.builders import START, evidence, pairs, plan, runtime, seen, version, window

SERVING = RolloutState(deployment="d", phase="Succeeded", stable="1", epoch=3)


def person(action: Any, number: int = 1) -> OperatorAction:
    return OperatorAction(
        id=f"a{number}", deployment="d", action=action, by="ada", reason="because", time=START + timedelta(number)
    )


class World:
    """Drives `decide` with a world that does what it is told."""

    def __init__(self, state: RolloutState = SERVING, **changes: Any) -> None:
        self.state = state
        self.now = START
        self.loaded: tuple[str, ...] = ("1",)
        self.changes = changes
        self.nominated: str | None = "2"
        self.events: list[Any] = []
        self.windows: list[Any] = []
        self.epoch = 3
        self.weights: list[float] = []

    def observe(self, **changes: Any) -> Observation:
        fields: dict[str, Any] = {
            "engine": EngineView(known=True, ready=True, adapters=self.loaded),
            "routing_epoch": self.epoch,
            "acks": {"g": self.epoch},
            "evidence": evidence(self.events, self.windows),
        }
        return seen(self.nominated, **(fields | self.changes | changes))

    def tick(self, seconds: float = 1.0, **changes: Any) -> Decision:
        self.now += timedelta(seconds=seconds)
        decision = decide(self.state, self.observe(**changes), self.now)
        self.state = decision.state
        for action in decision.actions:
            if isinstance(action, LoadAdapter):
                self.loaded = (*self.loaded, action.version)
            elif isinstance(action, UnloadAdapter):
                self.loaded = tuple(v for v in self.loaded if v != action.version)
            elif isinstance(action, PublishRouting):
                self.epoch = action.routing.epoch
                self.weights.append(action.routing.candidate_weight)
        return decision

    def until(self, *phases: str, ticks: int = 40) -> RolloutState:
        for _ in range(ticks):
            if self.state.phase in phases:
                return self.state
            self.tick()
        raise AssertionError(f"still in {self.state.phase}: {self.state.message}")

    def answer(self, outcomes: str) -> None:
        step = self.state.attempt.current.name if self.state.attempt and self.state.attempt.current else "shadow"
        self.events += pairs(outcomes, step, first=len(self.events))
        shift = (self.now - START).total_seconds() - (len(self.events)) / 5
        self.events = [
            *self.events[: -len(outcomes)],
            *(e.model_copy(update={"time": e.time + timedelta(seconds=shift)}) for e in self.events[-len(outcomes) :]),
        ]
        second = (self.now - START).total_seconds() - 20
        self.windows += [
            window("candidate", 20, second=second, step=step),
            window("stable", 20, second=second, step=step),
        ]


def promoted() -> World:
    world = World()
    world.until("Shadow")
    for _ in range(30):
        if world.state.phase == "Succeeded":
            break
        world.answer("+=+=" * 5)
        world.tick(3)
        world.tick(3)
    return world


def test_a_better_version_goes_through_every_phase_and_is_promoted() -> None:
    world = promoted()
    assert world.state.phase == "Succeeded"
    assert world.state.stable == "2"
    assert world.state.previous == "1"
    phases = [t.to_phase for t in world.state.history]
    assert phases == ["Preflight", "Shadow", "Step", "Step", "Baking", "Succeeded"]
    assert world.weights == [0.0, 0.0, 10.0, 50.0, 100.0, 0.0]
    assert world.state.attempt is not None
    assert "exact-match is at most 5 points worse" in (world.state.attempt.passed or "")


def test_a_worse_version_is_rolled_back_from_the_shadow_and_not_tried_again() -> None:
    world = World()
    world.until("Shadow")
    world.answer("-=-=" * 10)
    decision = world.tick()
    assert decision.state.phase == "RollingBack"
    assert decision.state.reason == "HarmFound"
    world.until("RolledBack")
    world.tick()
    assert world.state.reason == "RejectedVersion"
    assert world.state.phase == "RolledBack"
    assert max(world.weights) == 0


def test_records_come_before_acts_and_a_restart_repeats_the_acts() -> None:
    world = World()
    state = world.state
    first = decide(state, world.observe(), START)
    again = decide(first.state, world.observe(), START)
    assert first.transitions
    assert not again.transitions
    assert [a for a in again.actions if isinstance(a, PublishRouting)] == [
        a for a in first.actions if isinstance(a, PublishRouting)
    ]


def test_nothing_advances_before_every_fresh_gateway_has_acknowledged() -> None:
    world = World()
    world.until("Shadow")
    world.answer("+=" * 20)
    for _ in range(5):
        world.tick(5, acks={"g": world.epoch, "h": world.epoch - 1})
    assert world.state.phase == "Shadow"
    assert world.state.reason == "WaitingForGateways"
    assert "h" in world.state.message


def test_no_gateway_at_all_is_waited_for() -> None:
    world = World()
    world.until("Shadow")
    world.answer("+=" * 20)
    world.tick(5, acks={})
    assert world.state.reason == "WaitingForGateways"


def test_a_rollback_does_not_wait_for_an_engine_that_the_candidate_has_brought_down() -> None:
    world = World()
    world.until("Shadow")
    world.answer("-=-=" * 10)
    world.loaded = ()
    decision = world.tick(routed={"1": 100.0, "2": 0.0})
    assert decision.state.phase == "RollingBack"
    assert [action.kind for action in decision.actions if action.kind == "PublishRouting"]


def test_an_adapter_is_not_unloaded_while_no_gateway_says_what_it_serves() -> None:
    world = World()
    world.until("Shadow")
    world.answer("-=-=" * 10)
    for _ in range(4):
        decision = world.tick(acks={})
    assert world.state.phase == "RolledBack"
    assert not [action for action in decision.actions if isinstance(action, UnloadAdapter)]
    assert [action for action in world.tick().actions if isinstance(action, UnloadAdapter)]


def test_without_a_scorer_nothing_advances_although_traffic_goes_on() -> None:
    world = World()
    world.until("Shadow")
    world.tick()
    world.answer("+=" * 20)
    world.tick(5, scoring=False)
    assert (world.state.phase, world.state.reason) == ("Shadow", "EvidenceStale")
    assert "scorer" in world.state.message
    world.tick(5)
    assert world.state.phase == "Step"


def test_stale_evidence_lets_nothing_advance() -> None:
    world = World()
    world.until("Shadow")
    world.tick()
    world.answer("+=" * 20)
    world.tick(300)
    assert (world.state.phase, world.state.reason) == ("Shadow", "EvidenceStale")


def test_the_deadline_pauses_or_rolls_back_as_the_plan_says() -> None:
    paused, back = World(), World(plan=plan(onInconclusive="Rollback"))
    for world in (paused, back):
        world.until("Shadow")
        world.tick(601)
    assert (paused.state.phase, paused.state.reason) == ("Paused", "DeadlinePassed")
    assert (back.state.phase, back.state.reason) == ("RollingBack", "DeadlinePassed")


def test_evidence_that_never_decides_ends_at_the_declared_maximum() -> None:
    world = World(plan=plan(maxPairs=100))
    world.until("Shadow")
    for _ in range(12):
        world.answer("=" * 8 + "+-")
        world.tick(6)
    assert (world.state.phase, world.state.reason) == ("Paused", "MaxPairsReached")
    assert "promote" in world.state.message
    assert "resume" not in world.state.message
    refused = world.tick(operator=(person("resume"),))
    assert "all 100 pairs" in refused.answers["a1"]
    assert (world.state.phase, world.state.reason) == ("Paused", "MaxPairsReached")


def test_an_abort_wins_over_a_promotion_asked_earlier() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("promote", 1), person("abort", 2)))
    assert (world.state.phase, world.state.reason) == ("RollingBack", "Aborted")
    world.until("RolledBack")
    assert set(world.state.done_actions) == {"a1", "a2"}


def test_an_abort_after_full_promotion_brings_the_previous_version_back() -> None:
    world = promoted()
    world.tick(operator=(person("abort"),))
    world.until("RolledBack")
    assert (world.state.stable, world.state.previous) == ("1", None)
    assert "2" in world.state.rejected
    routing = wish(world.state).routing
    assert routing is not None
    assert (routing.stable, routing.candidate) == ("1", None)


def test_an_abort_in_the_bake_brings_the_stable_version_back() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("promote"),))
    assert world.state.phase == "Baking"
    world.tick(operator=(person("promote"), person("abort", 2)))
    world.until("RolledBack")
    assert (world.state.stable, world.weights[-1]) == ("1", 0.0)


def test_a_promotion_by_hand_is_recorded_with_who_and_why() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("promote"),))
    assert world.state.attempt is not None
    assert world.state.attempt.passed == "promoted by hand by ada (because)"
    assert world.state.history[-1].by == "ada"


def test_a_retry_starts_from_the_beginning_with_evidence_of_its_own() -> None:
    world = World()
    world.until("Shadow")
    first = world.state.attempt
    world.tick(operator=(person("abort"),))
    world.until("RolledBack")
    world.tick(operator=(person("abort"), person("resume", 2)))
    assert world.state.phase == "Preflight"
    second = world.state.attempt
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert second.step == -1
    assert world.state.weight == 0


def test_a_third_version_in_mid_rollout_takes_the_place_of_the_second() -> None:
    world = World()
    world.until("Shadow")
    world.nominated = "3"
    world.tick()
    assert (world.state.phase, world.state.reason) == ("RollingBack", "Superseded")
    world.until("Shadow")
    assert world.state.attempt is not None
    assert world.state.attempt.candidate == "3"
    assert "2" not in world.state.rejected
    assert world.state.stable == "1"


def test_a_third_version_waits_for_the_bake_of_the_second() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("promote"),))
    world.nominated = "3"
    world.tick()
    assert world.state.phase == "Baking"
    world.until("Succeeded")
    assert world.state.stable == "2"
    world.until("Shadow")
    assert wish(world.state).adapters[:2] == ("2", "3")


def test_a_pause_holds_the_weight_and_harm_still_ends_it() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("pause"),))
    world.answer("+=" * 20)
    world.tick(10)
    assert world.state.phase == "Paused"
    world.answer("-" * 80)
    world.tick()
    assert (world.state.phase, world.state.reason) == ("RollingBack", "HarmFound")


def test_a_resume_goes_on_where_it_was() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("pause"),))
    world.tick(1000)
    world.tick(operator=(person("pause"), person("resume", 2)))
    world.tick()
    assert world.state.phase == "Shadow"


def test_a_rejected_version_that_is_nominated_again_is_retried_from_any_rest() -> None:
    world = promoted()  # version 2 serves
    world.nominated = "3"
    world.until("Shadow")
    world.tick(operator=(person("abort"),))
    world.until("RolledBack")
    world.nominated = "4"
    world.until("Shadow")
    world.tick(operator=(person("abort"), person("abort", 2)))
    world.until("RolledBack")
    world.nominated = "3"  # not the last one that was rolled back
    world.tick()
    assert world.state.reason == "RejectedVersion"
    world.tick(operator=(person("abort"), person("abort", 2), person("resume", 3)))
    assert world.state.attempt is not None
    assert (world.state.phase, world.state.attempt.candidate) == ("Preflight", "3")


def test_a_step_that_needs_approval_waits_for_it() -> None:
    steps = [
        {"name": "shadow", "weight": 0, "minPairs": 5},
        {"name": "half", "weight": 50, "approval": "Required"},
    ]
    world = World(plan=plan(steps=steps))
    world.until("Shadow")
    world.tick()
    world.answer("+" * 10)
    world.tick()
    assert (world.state.phase, world.state.reason) == ("Shadow", "ApprovalRequired")
    world.tick(operator=(person("approve"),))
    world.tick()
    assert (world.state.phase, world.state.weight) == ("Step", 50)


def test_the_plan_of_a_running_rollout_is_frozen() -> None:
    world = World()
    world.until("Shadow")
    world.tick(plan=plan(steps=[{"name": "all", "weight": 100}]))
    assert world.state.attempt is not None
    assert len(world.state.attempt.plan.steps) == 3


def test_the_first_version_serves_when_its_gate_was_passed() -> None:
    world = World(RolloutState(deployment="d"), situation=Situation(runtime=runtime()))
    world.until("Succeeded")
    assert (world.state.stable, world.state.reason) == ("2", "InitialDeployment")
    assert world.state.attempt is not None
    assert world.state.attempt.passed == "first version: its gate was passed"


def test_the_first_version_without_a_gate_does_not_serve() -> None:
    untested = Candidate(version("2", gate=False))
    world = World(RolloutState(deployment="d"), situation=Situation(runtime=runtime()), nominated=untested)
    for _ in range(5):
        world.tick()
    assert (world.state.phase, world.state.reason) == ("Preflight", "GateNotPassed")
    assert wish(world.state).routing is None


def test_waiting_for_a_first_version_says_what_would_nominate_it() -> None:
    world = World(RolloutState(deployment="d"), nominated=None, awaited="intents@challenger")
    world.tick()
    assert (world.state.phase, world.state.reason) == ("Pending", "NothingNominated")
    assert "intents@challenger" in world.state.message


def test_a_preflight_problem_leaves_traffic_alone_and_heals_when_mended() -> None:
    world = World(nominated=Candidate(version("2", rank=64)))
    for _ in range(5):
        world.tick()
    assert (world.state.phase, world.state.reason) == ("Preflight", "RankTooHigh")
    assert set(world.weights) == {0.0}
    del world.changes["nominated"]
    world.until("Shadow")


def test_a_registry_that_does_not_answer_stops_no_judgement() -> None:
    world = World()
    world.until("Shadow")
    world.nominated = None
    world.answer("-" * 40)
    world.tick(trouble="MLflow does not answer", situation=None)
    assert world.state.phase == "RollingBack"


def test_the_champion_alias_is_put_right_again() -> None:
    world = World()
    world.nominated = "1"
    decision = world.tick(champion="7")
    assert SetAlias(version="1") in decision.actions


def test_no_routing_goes_to_a_version_that_is_not_loaded() -> None:
    world = World(replace_state(SERVING, epoch=9))
    world.nominated = "1"
    decision = world.tick(engine=EngineView(known=True, ready=True, adapters=()))
    assert not [a for a in decision.actions if isinstance(a, PublishRouting)]
    assert LoadAdapter(version="1") in decision.actions


def test_an_adapter_is_unloaded_only_after_every_gateway_routes_away_from_it() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(person("abort"),))
    waiting = world.tick(acks={"g": world.epoch - 1})
    assert not [a for a in waiting.actions if isinstance(a, UnloadAdapter)]
    assert world.state.phase == "RollingBack"
    done = world.tick()
    assert UnloadAdapter(version="2") in done.actions


def replace_state(state: RolloutState, **fields: Any) -> RolloutState:
    return state.model_copy(update=fields)


def test_the_state_survives_being_stored() -> None:
    state = promoted().state
    assert RolloutState.model_validate_json(state.model_dump_json()) == state


def test_decide_is_pure() -> None:
    world = World()
    world.until("Shadow")
    world.answer("+-=" * 10)
    observed, now = world.observe(), datetime.fromisoformat("2026-03-01T00:05:00+00:00")
    before = world.state.model_dump_json()
    assert decide(world.state, observed, now) == decide(world.state, replace(observed), now)
    assert world.state.model_dump_json() == before
