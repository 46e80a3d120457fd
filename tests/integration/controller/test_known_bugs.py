"""Bugs that other rollout controllers had, one test each, through the whole controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.rollout.state import RolloutState
from tests.integration.controller.conftest import Make
from tests.integration.controller.fakes import FileEngines
from tests.integration.controller.world import NAME, World
from tidegate.clock import ManualClock

pytestmark = pytest.mark.integration


def serving(make: Make, home: Path, clock: ManualClock | None = None, **rollout: object) -> World:
    """A platform on which version 1 serves and has had traffic."""
    world = make(home, clock)
    world.set_up(**rollout)
    world.until("Succeeded")
    for _ in range(2):
        world.tick()
    return world


def shares(world: World, rollout: str | None = None) -> list[tuple[str, float]]:
    """(version, percent of users) of every table that was published, of one rollout when it is given."""
    found = [entry.payload["table"] for entry in world.ledger.entries(kind="routing.published", subject=NAME)]
    tables = [table for table in found if rollout is None or table["rollout"] == rollout]
    return [(arm["version"], arm["weight"]) for table in tables for arm in table["arms"]]


def users(world: World) -> dict[str, float]:
    """Version -> percent of users by the routing in force."""
    table = world.parts.routing.get(NAME)
    assert table is not None
    return {arm.version: arm.weight for arm in table.arms if arm.weight > 0}


def attempt_id(state: RolloutState) -> str:
    assert state.attempt is not None
    return state.attempt.id


def at_half(world: World) -> RolloutState:
    """Goes on until half of the users are on the candidate."""
    world.until("Step", outcomes="+=+=+")
    world.eventually(lambda: users(world).get("2") == 50.0, outcomes="+=")
    return world.state


def test_an_abort_after_full_promotion_is_not_ignored(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path)
    world.nominate("2")
    world.until("Shadow")
    world.until("Succeeded", outcomes="+=+=+")
    world.tick()
    assert users(world) == {"2": 100.0}
    asked = world.ask("abort", "ada", "wrong answers")
    world.tick()
    assert "Version 1 serves again instead of 2" in (world.answer(asked) or "")
    assert users(world) == {"1": 100.0}
    world.until("RolledBack")
    for _ in range(5):  # the alias still nominates version 2
        world.tick("+=+=+")
    assert (world.state.reason, users(world)) == ("RejectedVersion", {"1": 100.0})


def test_an_abort_and_a_retry_end_in_a_promotion_and_not_in_between(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path)
    world.nominate("2")
    at_half(world)
    world.ask("abort", "ada")
    world.until("RolledBack")
    world.ask("resume", "ada", "it was the network")
    world.tick()
    world.until("Shadow")
    world.until("Succeeded", outcomes="+=+=+")
    world.tick()
    assert users(world) == {"2": 100.0}


def test_the_restart_of_an_aborted_rollout_sends_no_user_to_the_bad_candidate(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path)
    world.nominate("2")
    first = at_half(world)
    world.ask("abort", "ada")
    world.until("RolledBack")
    world.ask("resume", "ada")
    world.tick()
    second = world.until("Shadow")
    assert attempt_id(first) != attempt_id(second)
    world.until("RolledBack", outcomes="-=-=-")
    assert {weight for version, weight in shares(world, attempt_id(second)) if version == "2"} == {0.0}


def test_a_stable_version_whose_requests_fail_does_not_block_its_fix(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path)
    world.tick(stable_errors=10)
    world.nominate("2")
    world.until("Shadow", stable_errors=10)
    world.until("Succeeded", outcomes="+++", stable_errors=10)
    assert world.state.stable == "2"
    passed = [e.payload for e in world.ledger.entries(kind="rollout.decision", subject=NAME)][-1]
    assert passed["reason"] == "GatesPassed"


def test_a_stable_version_that_the_engine_cannot_hold_does_not_block_its_fix(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path)
    FileEngines(tmp_path / "engines.json").break_adapter("banking-intent/1")
    world.nominate("2")
    world.until("Shadow", stable_errors=10)
    world.until("Succeeded", outcomes="+++", stable_errors=10)
    assert world.state.stable == "2"


def test_a_stable_version_that_emits_no_latency_is_replaced_by_hand(make: Make, tmp_path: Path) -> None:
    latency = {"name": "latency-p95", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePercent": 20}
    clock = ManualClock()
    world = serving(make, tmp_path, clock, metrics=[latency], steps=[{"name": "half", "weight": 50}])
    clock.advance(700)  # what it answered while it still worked is no longer recent
    for _ in range(3):
        world.tick(stable_errors=10)
    world.nominate("2")
    world.until("Preflight", stable_errors=10)
    for _ in range(3):
        world.tick(stable_errors=10)
    assert world.state.reason == "MetricAbsent"
    world.ask("promote", "ada", "version 1 answers nobody")
    world.until("Succeeded", stable_errors=10)
    assert world.state.stable == "2"


def test_a_gate_on_a_metric_that_is_never_emitted_ends_at_the_deadline(make: Make, tmp_path: Path) -> None:
    clock = ManualClock()
    world = serving(make, tmp_path, clock)
    world.nominate("2")
    world.until("Shadow")
    for _ in range(40):  # requests go on, but no pair is ever scored
        clock.advance(10)
        world.tick()
    assert (world.state.phase, world.state.reason) == ("Paused", "DeadlinePassed")
    assert "tidegate rollout promote" in world.state.message
    assert users(world) == {"1": 100.0}


def test_version_3_in_the_middle_of_version_2_takes_its_place(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path)
    world.nominate("2")
    second = at_half(world)
    world.nominate("3")
    world.tick()
    assert (world.state.phase, world.state.reason) == ("RollingBack", "Superseded")
    assert users(world) == {"1": 100.0}
    third = world.until("Shadow")
    assert third.candidate == "3"
    world.until("Succeeded", outcomes="+=+=+")
    world.tick()
    assert users(world) == {"3": 100.0}
    assert {version for version, _ in shares(world, attempt_id(third))} == {"1", "3"}
    assert attempt_id(second) != attempt_id(third)
    assert "2" not in world.state.rejected


def test_version_3_waits_for_the_bake_of_version_2(make: Make, tmp_path: Path) -> None:
    clock = ManualClock()
    world = serving(make, tmp_path, clock, bakeSeconds=60)
    world.nominate("2")
    world.until("Shadow")
    world.until("Baking", outcomes="+=+=+")
    world.nominate("3", against="2")
    for _ in range(3):
        world.tick("+=+=+")
    assert (world.state.phase, users(world)) == ("Baking", {"2": 100.0})
    clock.advance(61)
    world.tick("+=+=+")
    world.until("Succeeded", outcomes="+=+=+")
    third = world.until("Shadow")
    assert (third.stable, third.candidate, third.previous) == ("2", "3", "1")


@pytest.mark.parametrize("action", ["approve", "abort", "resume", "pause", "promote"])
def test_the_same_request_twice_at_once_is_answered_twice_and_blocks_nothing(
    make: Make, tmp_path: Path, action: str
) -> None:
    world = serving(make, tmp_path)
    twice = [world.ask(action, "ada"), world.ask(action, "ada")]
    world.tick()
    world.tick()
    world.tick()
    assert all("was refused" in (world.answer(asked) or "") for asked in twice)
    refused = [e for e in world.ledger.entries(kind="rollout.transition") if e.payload["reason"] == "ActionRefused"]
    assert {entry.payload["action"] for entry in refused} == set(twice)
    world.nominate("2")
    world.until("Shadow")
