"""What a deployment says of the version that serves when its engine goes: the truth, and nothing of a mere restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.controller.availability import RESTART_SECONDS
from tests.integration.controller.conftest import Make
from tests.integration.controller.fakes import FileEngines
from tests.integration.controller.world import World
from tidegate.clock import ManualClock

pytestmark = pytest.mark.integration


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def world(make: Make, tmp_path: Path, clock: ManualClock) -> World:
    """Version 1 serves."""
    made = make(tmp_path, clock, 3600.0)
    made.set_up()
    made.until("Succeeded")
    made.tick()
    return made


def engine(world: World, mood: str) -> None:
    FileEngines(world.home / "engines.json").mood("local", mood)


def said(world: World, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = next(item for item in world.status["conditions"] if item["type"] == kind)
    return found["status"], found["reason"]


SERVES, DOWN, SILENT = ("True", "Serving"), ("False", "EngineNotReady"), ("Unknown", "EngineSilent")


def test_an_engine_without_a_replica_is_said_once_it_has_lasted(world: World, clock: ManualClock) -> None:
    engine(world, "down")
    world.tick()
    assert (said(world, "Ready"), said(world, "Degraded")) == (SERVES, ("False", "AllAnswer"))
    clock.advance(RESTART_SECONDS)
    world.tick()
    assert (said(world, "Ready"), said(world, "Degraded")) == (DOWN, ("True", "Trouble"))
    message = next(item["message"] for item in world.status["conditions"] if item["type"] == "Degraded")
    assert message == "no replica of the engine local answers for version 1: down"
    assert world.state.phase == "Succeeded"  # what serves is not another version
    engine(world, "well")
    world.tick()
    assert (said(world, "Ready"), said(world, "Degraded")) == (SERVES, ("False", "AllAnswer"))


def test_a_replica_that_restarts_is_no_news(world: World, clock: ManualClock) -> None:
    before = world.status["conditions"]
    for _ in range(3):
        engine(world, "down")
        world.tick()
        clock.advance(RESTART_SECONDS / 2)
        world.tick()
        assert world.status["conditions"] == before
        engine(world, "well")
        world.tick()
    assert world.status["conditions"] == before


def test_a_replica_that_is_missing_beside_one_that_runs_is_the_runtimes_to_tell(
    world: World, clock: ManualClock
) -> None:
    engine(world, "short")
    world.tick()
    clock.advance(RESTART_SECONDS)
    world.tick()
    assert (said(world, "Ready"), said(world, "Degraded")) == (SERVES, ("False", "AllAnswer"))


def test_of_an_engine_that_says_nothing_it_is_not_known_whether_it_serves(world: World, clock: ManualClock) -> None:
    engine(world, "silent")
    world.tick()
    assert (said(world, "Ready"), said(world, "Degraded")) == (SERVES, ("True", "Trouble"))
    clock.advance(RESTART_SECONDS)
    world.tick()
    assert (said(world, "Ready"), said(world, "Degraded")) == (SILENT, ("True", "Trouble"))


def test_the_next_controller_says_at_once_what_the_last_one_had_found(world: World, clock: ManualClock) -> None:
    """It knows nothing yet, which must not look like a recovery."""
    engine(world, "down")
    world.tick()
    clock.advance(RESTART_SECONDS)
    world.tick()
    world.controller.release()
    again = world.again()
    again.controller.round()
    assert said(again, "Ready") == DOWN
    again.tick()
    assert said(again, "Ready") == DOWN


def test_a_controller_that_has_just_begun_takes_its_own_ignorance_for_no_outage(world: World) -> None:
    world.controller.release()
    again = world.again()
    again.controller.round()
    assert said(again, "Ready") == SERVES
