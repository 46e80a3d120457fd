"""The state machine when time, parts and people do not behave as planned."""

from __future__ import annotations

import pytest

from serving.rollout.actions import LoadAdapter, PublishRouting
from serving.rollout.observation import EngineView
from serving.rollout.preflight import Situation
from serving.rollout.state import RolloutState
from tests.unit.rollout.builders import runtime, version
from tests.unit.rollout.test_decide import World, person

UNMEASURED = Situation(runtime=runtime(), stable=version("1"))


def test_a_wait_in_preflight_does_not_count_against_the_deadline_of_the_steps() -> None:
    world = World(situation=UNMEASURED)
    world.until("Preflight")
    world.tick(5000)
    assert world.state.reason == "MetricAbsent"
    del world.changes["situation"]
    world.until("Shadow")
    world.tick()
    assert world.state.phase == "Shadow"
    world.tick(601)
    assert (world.state.phase, world.state.reason) == ("Paused", "DeadlinePassed")


def test_the_abort_of_a_first_version_waits_for_no_gateway() -> None:
    """Gateways may still report what they held for a deployment of this name that was deleted."""
    world = World(RolloutState(deployment="d", epoch=7), situation=Situation(runtime=runtime()))
    world.until("Preflight")
    for _ in range(3):
        world.tick(operator=(person("abort"),), acks={"g": 5}, routing_epoch=0)
    assert world.state.phase == "RolledBack"


@pytest.mark.parametrize("nominated", ["1", None])
def test_trouble_between_rollouts_is_not_shown_any_longer_than_it_lasts(nominated: str | None) -> None:
    world = World()
    world.nominated = None
    world.tick(trouble="MLflow does not answer")
    assert world.state.reason == "Degraded"
    world.nominated = nominated
    world.tick()
    assert (world.state.phase, world.state.reason) == ("Succeeded", "Serving")


def test_no_more_users_go_to_a_candidate_that_the_engine_has_lost() -> None:
    world = World()
    world.until("Shadow")
    world.tick()
    world.answer("+=" * 20)
    lost = {"engine": EngineView(known=True, ready=True, adapters=("1",)), "routed": {"1": 100.0, "2": 0.0}}
    decision = world.tick(5, **lost)
    assert world.state.phase == "Step"
    assert [action for action in decision.actions if isinstance(action, LoadAdapter)]
    assert not [action for action in decision.actions if isinstance(action, PublishRouting)]
    world.tick(routed={"1": 100.0, "2": 0.0})
    assert world.weights[-1] == 10.0
