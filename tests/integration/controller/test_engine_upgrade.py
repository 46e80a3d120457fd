"""Another engine under the same version is judged like another version: on a cluster, which has room for both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.world import NAME, RUNTIME, World, runtime
from tests.kube_api import KubeApi

pytestmark = pytest.mark.integration


@pytest.fixture
def world(kube_api: KubeApi, tmp_path: Path) -> World:
    return KubeWorld.serving(tmp_path, kube_api)


def engines(world: World) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((world.home / "engines.json").read_text())
    return found


def arms(world: World) -> list[tuple[str, str, float]]:
    world.look()
    table = world.parts.routing.get(NAME)
    assert table is not None
    return [(arm.version, arm.adapter, arm.weight) for arm in table.arms]


def test_a_new_image_is_rolled_out_beside_the_old_one_and_takes_over(world: World) -> None:
    world.apply(runtime(image="registry.example/engine:2"))
    state = world.until("Shadow")
    assert state.attempt is not None
    assert (state.stable, state.attempt.candidate) == ("1", "1+e2")
    assert engines(world) == {"local": ["banking-intent/1"], "local-e2": ["banking-intent/1"]}
    assert arms(world) == [("1", "banking-intent/1", 100.0), ("1+e2", "banking-intent/1", 0.0)]
    world.until("Succeeded", outcomes="+=+=+")
    world.eventually(lambda: list(engines(world)) == ["local-e2"])  # no second set of GPUs stays behind
    assert world.status["stable"] == "1+e2"
    assert arms(world) == [("1+e2", "banking-intent/1", 100.0)]
    assert engines(world) == {"local-e2": ["banking-intent/1"]}
    champion = world.registry.by_alias("banking-intent", "champion")
    assert champion is not None
    assert champion.version == "1"


@pytest.mark.parametrize("change", [{"image": "registry.example/engine:2"}, {"rayVersion": "2.61.0"}], ids=str)
def test_an_engine_that_is_worse_is_rolled_back_and_goes(world: World, change: dict[str, str]) -> None:
    world.apply(runtime(**change))
    world.until("Shadow")
    world.until("RolledBack", outcomes="-=-=-")
    world.eventually(lambda: not engines(world).get("local-e2"))
    assert arms(world) == [("1", "banking-intent/1", 100.0)]
    assert engines(world).get("local") == ["banking-intent/1"]
    assert world.status["reason"] == "RejectedVersion"


def test_a_manifest_that_says_again_what_it_said_is_the_old_engine_again(world: World) -> None:
    world.apply(runtime(image="registry.example/engine:2"))
    world.until("Shadow")
    world.apply(RUNTIME)
    world.until("RolledBack")
    world.eventually(lambda: list(engines(world)) == ["local"])
    assert world.status["stable"] == "1"
    assert world.status["reason"] != "RejectedVersion"
    assert engines(world) == {"local": ["banking-intent/1"]}


def test_more_replicas_are_no_other_engine(world: World) -> None:
    world.apply(runtime(placement={"minReplicas": 2, "maxReplicas": 4}))
    for _ in range(4):
        world.tick()
    assert world.status["phase"] == "Succeeded"
    assert list(engines(world)) == ["local"]


def test_a_promotion_to_another_engine_can_be_taken_back(world: World) -> None:
    world.apply(runtime(image="registry.example/engine:2"))
    world.until("Shadow")
    world.until("Succeeded", outcomes="+=+=+")
    world.eventually(lambda: list(engines(world)) == ["local-e2"])
    world.ask("abort", "ada", "answers in French")
    world.tick()
    world.until("RolledBack")
    world.eventually(lambda: arms(world) == [("1", "banking-intent/1", 100.0)])
    assert "banking-intent/1" in engines(world)["local"]


def test_a_runtime_that_is_deleted_waits_for_its_engine_to_go(world: World) -> None:
    world.delete("ModelDeployment", NAME)
    world.delete("ModelRuntime", "local")
    for _ in range(4):
        world.look()
        world.parts.engines.poll()
        world.controller.round()
    world.parts.engines.poll()
    assert engines(world) == {}
    assert world.parts.resources.get("ModelRuntime", "local") is None
