"""Runtimes: what one engine holds for several deployments, and when it is ready for what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.controller.loop import left_out, shared_slots
from tests.integration.controller.conftest import Make
from tests.integration.controller.fakes import FileEngines, signed
from tests.integration.controller.world import World, deployment, runtime
from tidegate.domain.resources import ModelDeployment
from tidegate.ports import AdapterSlot

pytestmark = pytest.mark.integration


def slots(*ids: str) -> tuple[AdapterSlot, ...]:
    return tuple(AdapterSlot(id=name, uri=f"/{name}", digest="sha256:" + "a" * 64, rank=8) for name in ids)


def beside(world: World, name: str, number: str) -> None:
    """Another deployment on the runtime serves this version from now on."""
    world.registry.add(signed(number))
    other = deployment().model_dump(mode="json", by_alias=True, exclude_none=True)
    other["metadata"]["name"] = name
    other["spec"]["model"]["source"] = {"type": "Version", "version": number}
    world.apply(ModelDeployment.model_validate(other))


def test_deployments_on_one_engine_keep_what_serves_before_any_canary() -> None:
    held = shared_slots([slots("a/1", "a/2", "a/0"), slots("b/1", "b/2"), slots("a/1")], 3)
    assert [slot.id for slot in held] == ["a/1", "b/1", "a/2"]


def test_a_version_that_is_judged_is_not_unloaded_for_another_deployments_candidate() -> None:
    held = shared_slots([slots("a/1", "a/2"), slots("b/1", "b/2")], 3, loaded=("a/1", "b/1", "b/2"))
    assert [slot.id for slot in held] == ["a/1", "b/1", "b/2"]


def test_what_serves_or_is_judged_and_has_no_slot_is_named_and_nothing_else() -> None:
    wanted = [slots("a/1", "a/2", "a/0"), slots("b/1")]
    assert left_out(wanted, shared_slots(wanted, 2)) == {"a/2"}
    assert left_out(wanted, shared_slots(wanted, 3)) == frozenset()


def test_a_candidate_for_which_the_engine_has_no_slot_says_who_holds_them(make: Make, tmp_path: Path) -> None:
    world = make(tmp_path, None)
    world.set_up()
    world.apply(runtime(engine={"maxAdapters": 2}))
    beside(world, "branch-assistant", "5")
    world.eventually(lambda: sorted(world.loaded) == ["banking-intent/1", "banking-intent/5"])
    world.nominate("2")
    world.eventually(lambda: "no slot" in world.status["message"])
    assert world.status["reason"] == "LoadingAdapter"
    assert "engine local has no slot for banking-intent/2" in world.status["message"]
    assert "raise spec.engine.maxAdapters (2) of ModelRuntime local" in world.status["message"]
    assert sorted(world.loaded) == ["banking-intent/1", "banking-intent/5"]
    world.delete("ModelDeployment", "branch-assistant")
    world.until("Shadow")


def test_replicas_that_restart_still_hold_what_is_judged(make: Make, tmp_path: Path) -> None:
    """Without a replica none says what it holds. What is judged there must not make room for what is new."""
    world = make(tmp_path, None)
    world.set_up()
    world.apply(runtime(engine={"maxAdapters": 3}))
    beside(world, "a-branch", "5")  # its wishes are looked at first
    world.eventually(lambda: sorted(world.loaded) == ["banking-intent/1", "banking-intent/5"])
    world.nominate("2")
    world.until("Shadow")
    judged = ["banking-intent/1", "banking-intent/2", "banking-intent/5"]
    assert sorted(world.loaded) == judged
    FileEngines(tmp_path / "engines.json").mood("local", "down")
    beside(world, "a-branch", "6")
    for _ in range(6):
        world.tick()
    FileEngines(tmp_path / "engines.json").mood("local", "well")
    world.eventually(lambda: len(world.loaded) == 3)
    assert sorted(world.loaded) == judged


def test_a_runtime_is_ready_for_a_generation_that_its_engine_was_told_of(world: World) -> None:
    assert runtime_ready(world) == (1, True)
    world.apply(runtime(placement={"maxReplicas": 3}))
    world.look()
    world.controller.round()  # and no look at the engine since
    assert runtime_ready(world) == (2, False)
    world.eventually(lambda: runtime_ready(world) == (2, True))


def test_a_new_leader_takes_nothing_back_of_what_is_ready(world: World) -> None:
    world.controller.release()
    successor = world.another()
    for _ in range(3):
        successor.parts.registry.poll()
        successor.parts.engines.poll()
        world.look()
        successor.round()
        world.look()
        assert runtime_ready(world) == (1, True)


def test_a_new_leader_takes_nothing_for_ready_that_it_was_not_told_of(world: World) -> None:
    world.controller.release()
    world.apply(runtime(placement={"maxReplicas": 3}))
    successor = world.another()
    found = []
    for _ in range(6):
        world.look()
        successor.round()
        found.append(runtime_ready(world))
        successor.parts.registry.poll()
        successor.parts.engines.poll()
    assert found[1] == (2, False), "the engine is well, and says so of what another process told it"
    assert found[-1] == (2, True)


def runtime_ready(world: World) -> tuple[int, bool]:
    """Of which generation the runtime speaks, and whether it is ready for it."""
    world.look()
    stored = world.parts.resources.get("ModelRuntime", "local")
    assert stored is not None
    ready = next(item for item in stored.status["conditions"] if item["type"] == "Ready")
    return int(stored.status["observedGeneration"]), ready["status"] == "True"
