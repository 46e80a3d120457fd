"""What people give that cannot work, on a cluster: a condition and an event say what, why and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.world import NAME, deployment
from tests.kube_api import KubeApi
from tidegate.adapters.kube.kinds import EVENT

pytestmark = pytest.mark.integration


@pytest.fixture
def world(kube_api: KubeApi, tmp_path: Path) -> KubeWorld:
    return KubeWorld.serving(tmp_path, kube_api)


def said(world: KubeWorld, reason: str) -> str:
    """The note of the event with that reason."""
    notes = [body["note"] for body in world.client().list(EVENT)[0] if body["reason"] == reason]
    assert notes, sorted({body["reason"] for body in world.client().list(EVENT)[0]})
    return str(notes[-1])


def condition(world: KubeWorld, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in world.status["conditions"] if item["type"] == kind)
    return found


def weights(world: KubeWorld) -> list[tuple[str, float]]:
    world.look()
    table = world.parts.routing.get(NAME)
    assert table is not None
    return [(arm.version, arm.weight) for arm in table.arms]


METRIC = {"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"}


@pytest.mark.parametrize(
    ("version", "plan", "reason", "words"),
    [
        ({"rank": 64}, {}, "RankTooHigh", "raise spec.engine.maxAdapterRank"),
        ({"gate": False}, {}, "GateNotPassed", "did not pass its gate and nobody overrode it"),
        ({}, {"metrics": [METRIC | {"maxDropPoints": "0"}]}, "Underpowered", "set maxDropPoints"),
        ({}, {"mirror": {"percent": 0}}, "Underpowered", "mirror.percent is 0; raise it"),
        ({}, {"metrics": [METRIC | {"name": "politeness"}]}, "MetricAbsent", "politeness is not measured"),
    ],
)
def test_a_version_or_plan_that_cannot_work_says_so_and_traffic_stays(
    world: KubeWorld, version: dict[str, Any], plan: dict[str, Any], reason: str, words: str
) -> None:
    world.apply(deployment(**plan))
    world.nominate("2", **version)
    for _ in range(3):
        world.tick()
    assert world.status["reason"] == reason
    progressing = condition(world, "Progressing")
    assert progressing["reason"] == reason
    assert words in progressing["message"]
    assert words in said(world, reason)
    assert weights(world) == [("1", 100.0)]


def test_a_model_that_is_not_registered_and_a_missing_alias_are_named(world: KubeWorld) -> None:
    manifest = deployment().model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["model"]["source"] = {"type": "Version", "version": "77"}
    world.apply(type(deployment()).model_validate(manifest))
    for _ in range(3):
        world.tick()
    degraded = condition(world, "Degraded")
    assert degraded["status"] == "True"
    assert "version 77 of banking-intent does not exist" in degraded["message"]
    assert "version 77" in said(world, "Degraded")
    assert weights(world) == [("1", 100.0)]


def test_weights_that_fall_are_refused_by_the_api_server(world: KubeWorld) -> None:
    manifest = deployment().model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["rollout"]["steps"][2]["weight"] = 5
    with pytest.raises(Exception, match="weights"):
        world.apply_raw(manifest)
    assert weights(world) == [("1", 100.0)]
