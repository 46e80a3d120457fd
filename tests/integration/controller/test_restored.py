"""What backups, lost answers, other releases and other leaders leave behind: users stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.operator.resources import KubeResources
from serving.operator.rollouts import KubeRollouts
from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.test_engine_upgrade import arms, engines
from tests.integration.controller.world import NAME, RUNTIME, runtime
from tests.kube_api import KubeApi
from tidegate.adapters.kube.kinds import CONTROLLER_REVISION, LEASE, OWN
from tidegate.clock import ManualClock
from tidegate.errors import Unavailable

pytestmark = pytest.mark.integration


@pytest.fixture
def world(kube_api: KubeApi, tmp_path: Path) -> KubeWorld:
    return KubeWorld.serving(tmp_path, kube_api)


def change(
    world: KubeWorld, kind: str, name: str, edit: Callable[[dict[str, Any]], dict[str, Any]], **more: Any
) -> None:
    client = world.client()
    body = client.get(OWN[kind], name)
    assert body is not None
    client.replace(OWN[kind], edit(body), **more)


def test_a_lease_that_was_not_restored_gets_an_epoch_above_all_that_was_signed(world: KubeWorld) -> None:
    for _ in range(3):  # leaders come and go
        world.controller.release()
        world.tick()
    world.controller.release()
    world.client().delete(LEASE, "tidegate-controller")
    again = world.again()
    for _ in range(3):
        again.tick()
    assert again.controller.leads
    asked = again.ask("pause", "ada")
    again.tick()
    assert "was refused" in (again.answer(asked) or "")  # it is heard: writes are taken


def test_a_deployment_that_this_release_cannot_read_keeps_its_adapter(world: KubeWorld) -> None:
    def newer(body: dict[str, Any]) -> dict[str, Any]:
        state = {**body["status"]["state"], "phase": "Dreaming"}
        return {**body, "status": {**body["status"], "state": state}}

    change(world, "ModelDeployment", NAME, newer, status=True)
    world.controller.release()
    again = world.again()
    for _ in range(4):
        again.tick()
    assert engines(world) == {"local": ["banking-intent/1"]}
    assert arms(world) == [("1", "banking-intent/1", 100.0)]


def test_an_older_status_than_the_routing_unloads_nothing_and_moves_nobody(world: KubeWorld) -> None:
    old = world.client().get(OWN["ModelDeployment"], NAME)
    assert old is not None
    world.nominate("2")
    world.until("Shadow")
    world.until("Succeeded", outcomes="+=+=+")
    world.tick()
    world.controller.release()
    change(
        world,
        "ModelDeployment",
        NAME,
        lambda body: {**body, "status": {**old["status"], "leaderEpoch": body["status"]["leaderEpoch"]}},
        status=True,
    )
    again = world.again()
    for _ in range(4):
        again.tick()
    assert [(version, weight) for version, _, weight in arms(world)] == [("2", 100.0)]
    assert "banking-intent/2" in engines(world)["local"]
    assert again.status["stable"] == "2"


def test_a_manifest_taken_back_in_mid_canary_keeps_the_engine_until_nobody_is_on_it(world: KubeWorld) -> None:
    world.apply(runtime(image="registry.example/engine:2"))
    world.until("Shadow")
    world.until("Step", outcomes="+=+=+")
    world.apply(RUNTIME)
    for _ in range(3):  # the gateway does not follow
        world.look()
        world.parts.registry.poll()
        world.parts.engines.poll()
        world.controller.round()
        assert "local-e2" in engines(world)
    world.eventually(lambda: list(engines(world)) == ["local"])
    assert engines(world) == {"local": ["banking-intent/1"]}


def test_a_backup_without_revisions_finds_the_engine_that_serves_under_its_name(world: KubeWorld) -> None:
    """Velero leaves ControllerRevisions out; what a status names must not be another engine afterwards."""
    changed = runtime(image="registry.example/engine:2")
    world.apply(changed)
    world.until("Shadow")
    world.until("Succeeded", outcomes="+=+=+")
    world.eventually(lambda: list(engines(world)) == ["local-e2"])
    world.controller.release()
    client = world.client()
    for body in client.list(CONTROLLER_REVISION)[0]:
        client.delete(CONTROLLER_REVISION, body["metadata"]["name"])
    again = world.again()
    for _ in range(6):
        again.tick()
        assert arms(again) == [("1+e2", "banking-intent/1", 100.0)]
    assert engines(world) == {"local-e2": ["banking-intent/1"]}
    assert again.status["phase"] == "Succeeded"


def test_a_deployment_that_was_deleted_past_its_finalizer_is_taken_out_of_routing(
    kube_api: KubeApi, tmp_path: Path
) -> None:
    clock = ManualClock()
    world = KubeWorld(tmp_path, kube_api, kube_api.make_namespace(), clock, lease_ttl=300.0)
    world.set_up()
    world.until("Succeeded")
    client = world.client()
    world.delete("ModelDeployment", NAME)
    change(world, "ModelDeployment", NAME, lambda body: {**body, "metadata": {**body["metadata"], "finalizers": []}})
    world.tick()
    in_force = client.get(OWN["ModelRouting"], NAME)
    assert in_force is not None
    assert not in_force["spec"].get("removed")  # it may be a backup that is coming back
    clock.advance(61)
    world.tick()
    world.tick()
    gone = client.get(OWN["ModelRouting"], NAME)
    assert gone is not None
    assert gone["spec"]["removed"] is True
    assert gone["spec"]["epoch"] > in_force["spec"]["epoch"]
    assert len(world.ledger.entries(kind="routing.removed", subject=NAME)) == 1


def test_an_attempt_that_could_not_be_shown_is_shown_later(world: KubeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = KubeRollouts._begin

    def away(self: KubeRollouts, *arguments: Any) -> None:
        monkeypatch.setattr(KubeRollouts, "_begin", begin)
        raise Unavailable("the API server does not answer")

    monkeypatch.setattr(KubeRollouts, "_begin", away)
    world.nominate("2")
    attempt = world.until("Preflight").attempt
    assert attempt is not None
    world.eventually(lambda: world.client().get(OWN["ModelRollout"], attempt.id) is not None, ticks=3)


def test_a_decision_whose_answer_was_lost_reaches_the_ledger(world: KubeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.nominate("2")
    write = KubeResources.write_status

    def written_but_unheard(self: KubeResources, *arguments: Any) -> None:
        monkeypatch.setattr(KubeResources, "write_status", write)
        write(self, *arguments)
        raise Unavailable("the answer was lost")

    monkeypatch.setattr(KubeResources, "write_status", written_but_unheard)
    world.tick()
    world.until("Shadow")
    world.tick()
    told = [entry.payload["reason"] for entry in world.ledger.entries(kind="rollout.transition", subject=NAME)]
    assert told.count("Nominated") == 2  # of version 1 and of version 2
    assert [item.reason for item in world.state.history] == told
