"""Who may let a rollout go on, and which attempt is meant; and what happens while no evidence can be read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from serving.rollout.observation import EngineView
from serving.rollout.state import OperatorAction
from tests.unit.rollout.builders import START, plan
from tests.unit.rollout.test_decide import World, person

TWO_PEOPLE = [
    {"name": "shadow", "weight": 0, "minPairs": 5},
    {"name": "half", "weight": 50, "approval": "SecondPerson"},
]


def asked(action: Any, by: str, number: int = 1, rollout: str | None = None) -> OperatorAction:
    return OperatorAction(
        id=f"{by}-{number}", deployment="d", action=action, by=by, time=START + timedelta(number), rollout=rollout
    )


def waiting(**changes: Any) -> World:
    world = World(plan=plan(steps=TWO_PEOPLE), **changes)
    world.until("Shadow")
    world.tick()
    world.answer("+" * 10)
    world.tick()
    assert world.state.reason == "ApprovalRequired"
    return world


def test_a_step_for_two_people_does_not_begin_with_the_one_who_asked_for_it() -> None:
    world = waiting(requested_by=("ada",))
    assert "somebody other than ada" in world.state.message
    decision = world.tick(operator=(asked("approve", "ada"),))
    assert "was refused: step half takes a second person, and ada asked for this rollout" in decision.answers["ada-1"]
    world.tick()
    assert world.state.phase == "Shadow"
    world.tick(operator=(asked("approve", "bob"),))
    world.tick()
    assert (world.state.phase, world.state.weight) == ("Step", 50)


def test_without_a_first_person_on_record_there_is_no_second() -> None:
    decision = waiting().tick(operator=(asked("approve", "bob"),))
    assert "set tidegate.dev/requested-by" in decision.answers["bob-1"]


@pytest.mark.parametrize(("by", "phase"), [("ada", "Shadow"), ("bob", "Baking")])
def test_a_promotion_by_hand_does_not_skip_the_second_person(by: str, phase: str) -> None:
    world = waiting(requested_by=("ada",))
    world.tick(operator=(asked("promote", by),))
    assert world.state.phase == phase


def test_whoever_retries_a_version_is_who_asked_for_it() -> None:
    world = waiting(requested_by=("ada",))
    world.tick(operator=(asked("abort", "ada"),))
    world.until("RolledBack")
    world.tick(operator=(asked("resume", "bob", 2),))
    assert world.state.attempt is not None
    assert world.state.attempt.requested_by == ("bob",)


def test_what_is_asked_of_an_earlier_attempt_is_refused() -> None:
    world = World()
    world.until("Shadow")
    decision = world.tick(operator=(asked("promote", "ada", rollout="d-v2-1"),))
    assert "it is meant for rollout d-v2-1, and the last one is d-v2-" in decision.answers["ada-1"]
    assert world.state.phase == "Shadow"


def test_without_evidence_to_read_weights_stay_and_people_are_heard() -> None:
    world = World()
    world.until("Shadow")
    world.answer("-" * 60)
    away: dict[str, Any] = {"evidence_known": False, "trouble": "the database does not answer"}
    world.tick(**away)
    assert (world.state.phase, world.state.reason) == ("Shadow", "EvidenceUnreadable")
    world.tick(operator=(person("abort"),), **away)
    world.tick(**away)
    assert world.state.phase == "RolledBack"


def test_without_evidence_to_read_the_deadline_still_pauses() -> None:
    world = World()
    world.until("Shadow")
    world.tick(700, evidence_known=False)
    assert (world.state.phase, world.state.reason) == ("Paused", "DeadlinePassed")


def test_who_asked_may_be_put_on_record_while_the_step_for_two_waits() -> None:
    world = waiting()
    world.tick(requested_by=("ada",))
    world.tick(operator=(asked("approve", "bob"),))
    world.tick()
    assert (world.state.phase, world.state.weight) == ("Step", 50)


def test_an_approval_does_not_outlive_the_plan_that_it_was_given_for() -> None:
    careful = [{"name": "small", "weight": 1, "approval": "SecondPerson"}]
    bold = [{"name": "all", "weight": 90, "approval": "SecondPerson"}]
    world = World(plan=plan(steps=careful), requested_by=("ada",), engine=EngineView(known=True, adapters=("1",)))
    world.until("Preflight")
    world.tick(operator=(asked("approve", "bob"),))
    assert world.state.reason == "Approved"
    world.changes |= {"plan": plan(steps=bold), "requested_by": ("bob",)}
    del world.changes["engine"]
    for _ in range(3):
        world.tick()
    assert (world.state.phase, world.state.reason) == ("Preflight", "ApprovalRequired")
    assert world.state.attempt is not None
    assert world.state.attempt.requested_by == ("ada", "bob")


def test_a_retry_that_was_asked_before_an_abort_does_not_begin() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(asked("abort", "ada"),))
    world.until("RolledBack")
    decision = world.tick(operator=(asked("resume", "ada", 2), asked("abort", "bob", 3)))
    assert "an abort was asked after it" in decision.answers["ada-2"]
    assert world.state.phase == "RolledBack"


def test_an_abort_of_another_rollout_overtakes_nothing() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(asked("pause", "ada"), asked("abort", "bob", 2, rollout="d-v9-1")))
    assert world.state.phase == "Paused"


def test_more_requests_than_a_history_remembers_are_answered_a_part_at_a_time() -> None:
    world = World()
    world.until("Shadow")
    many = tuple(asked("approve", f"person-{number}", number) for number in range(45))
    first = world.tick(operator=many)
    assert 0 < len(first.answers) < len(world.state.history)
    answered = dict(first.answers)
    for _ in range(3):
        left = tuple(action for action in many if action.id not in answered)
        made = world.tick(operator=left).answers
        assert not made.keys() & answered.keys()
        answered |= made
    assert len(answered) == len(many)


def test_a_pause_says_how_it_ends() -> None:
    world = World()
    world.until("Shadow")
    world.tick(operator=(asked("pause", "ada"),))
    assert "`tidegate rollout resume d` goes on" in world.state.message
