"""The controller over the real stores: what it records, what it publishes, and what it survives."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.controller.loop import Controller
from serving.rollout.explain import explain, timeline
from tests.integration.controller.conftest import Make
from tests.integration.controller.fakes import signed
from tests.integration.controller.world import NAME, World, deployment
from tidegate.clock import ManualClock
from tidegate.domain.resources import ModelDeployment
from tidegate.errors import Conflict

pytestmark = pytest.mark.integration


def leaders(*controllers: Controller) -> list[bool]:
    return [controller.leads for controller in controllers]


def weights(world: World) -> list[tuple[str, float]]:
    published = world.ledger.entries(kind="routing.published", subject=NAME)
    return [(arm["version"], arm["weight"]) for entry in published for arm in entry.payload["table"]["arms"]]


def test_the_first_version_serves_and_becomes_champion(world: World) -> None:
    assert world.status["stable"] == "1"
    assert world.status["reason"] == "InitialDeployment"
    world.tick()
    world.tick()
    table = world.parts.routing.get(NAME)
    assert table is not None
    assert [(arm.version, arm.weight, arm.adapter) for arm in table.arms] == [("1", 100.0, "banking-intent/1")]
    champion = world.registry.by_alias("banking-intent", "champion")
    assert champion is not None
    assert champion.version == "1"


def test_a_better_version_is_promoted_and_every_step_is_on_record(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    world.until("Succeeded", outcomes="+=+=+")
    world.tick()
    world.tick()
    assert world.status["stable"] == "2"
    shares = [weight for version, weight in weights(world) if version == "2"]
    assert shares == [0.0, 10.0, 50.0, 100.0, 100.0]
    kinds = [entry.kind for entry in world.ledger.entries(subject=NAME)]
    assert kinds.count("rollout.started") == 2
    decisions = world.ledger.entries(kind="rollout.decision", subject=NAME)
    assert decisions[-1].payload["reason"] == "GatesPassed"
    assert "exact-match is at most 5 points worse" in decisions[-1].payload["passed"]
    assert world.ledger.verify().ok
    assert "version 2 serves" in explain(world.state)
    drawn = timeline(world.ledger.entries())
    assert [mark.phase for mark in drawn.marks][-2:] == ["Baking", "Succeeded"]
    assert drawn.scores[-1].losses == 0


def test_a_bad_version_is_rolled_back_in_the_shadow_and_its_adapter_unloaded(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    state = world.until("RolledBack", outcomes="-=-=-")
    assert state.reason == "HarmFound"
    assert state.weight == 0
    world.tick()
    world.tick()
    world.tick()
    assert max((weight for version, weight in weights(world) if version == "2"), default=0.0) == 0.0
    report = world.parts.engines.report("local")
    assert report.status is not None
    assert report.status.adapters == ("banking-intent/1",)
    assert world.status["reason"] == "RejectedVersion"


def test_errors_of_the_candidate_roll_it_back(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    world.until("Step", outcomes="+=+=+")
    for _ in range(30):
        world.tick("+==", errors=5)
        if world.state.phase in {"RollingBack", "RolledBack"}:
            break
    assert "error-rate is worse" in world.state.message


def test_what_people_ask_is_answered_once_with_their_name_on_record(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    asked = world.ask("abort", "ada", "wrong data")
    world.tick()
    assert world.answer(asked) == "Aborted by ada (wrong data)."
    decisions = world.ledger.entries(kind="rollout.decision", subject=NAME)
    assert (decisions[-1].actor, decisions[-1].payload["reason"]) == ("ada", "Aborted")
    refused = world.ask("approve", "ada")
    world.until("RolledBack")
    world.tick()
    assert "was refused" in (world.answer(refused) or "")


def test_a_restarted_controller_goes_on_where_the_last_one_stopped(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    world.tick("+=+=+")
    before = world.state
    world.controller.release()
    again = world.again()
    again.tick()
    assert again.state.attempt is not None
    assert before.attempt is not None
    assert again.state.attempt.id == before.attempt.id
    assert again.state.epoch == before.epoch
    again.until("Succeeded", outcomes="+=+=+")
    assert again.status["stable"] == "2"


def test_only_one_controller_leads_and_a_stale_one_writes_nothing(make: Make, tmp_path: Path) -> None:
    clock = ManualClock()
    world = make(tmp_path, clock, 1.0)
    world.set_up()
    for _ in range(10):
        clock.advance(0.5)
        world.tick()
    assert world.status["phase"] == "Succeeded"
    other = world.another()
    other.tick()
    assert leaders(world.controller, other) == [True, False]
    stale_fence = world.controller._fence
    clock.advance(2.0)  # the lease runs out while the first one sleeps
    other.tick()
    assert leaders(other) == [True]
    world.nominate("2")
    world.parts.registry.poll()
    stored = world.parts.resources.get("ModelDeployment", NAME)
    assert stored is not None
    assert stale_fence is not None
    entries = len(world.ledger.entries())
    with pytest.raises(Conflict, match="lease 'tidegate-controller'"):
        world.controller.reconciler.reconcile(stored, stale_fence)
    assert len(world.ledger.entries()) == entries
    world.controller.tick()
    assert leaders(world.controller, other) == [False, True]


def test_an_alias_that_was_wished_before_the_lease_was_lost_is_not_set_afterwards(make: Make, tmp_path: Path) -> None:
    clock = ManualClock()
    world = make(tmp_path, clock, 1.0)
    world.set_up()
    world.until("Succeeded")
    world.tick()
    world.registry.add(signed("7"))
    world.parts.registry.point("banking-intent", "champion", "7")  # the registry has not been asked yet
    clock.advance(2.0)
    other = world.another()
    other.tick()
    if not other.leads:  # of a Lease it has to be seen for its time that nothing changes
        clock.advance(2.0)
        other.tick()
    world.controller.round()
    assert leaders(world.controller, other) == [False, True]
    world.parts.registry.poll()
    champion = world.registry.by_alias("banking-intent", "champion")
    assert champion is not None
    assert champion.version == "1"


def test_a_lost_status_is_rebuilt_from_the_routing_in_force(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    world.lose_status()
    epoch = world.parts.routing.get(NAME).epoch  # type: ignore[union-attr]
    world.tick()
    assert world.state.stable == "1"
    world.until("Shadow")
    assert world.state.epoch > epoch


def test_a_registry_that_is_gone_stops_no_rollback(world: World) -> None:
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    (world.home / "registry.json").write_text("no JSON")
    world.until("RolledBack", outcomes="-=-=-")
    table = world.parts.routing.get(NAME)
    assert table is not None
    assert [arm.version for arm in table.arms] == ["1"]


def test_a_serving_version_that_was_deleted_from_the_registry_serves_on_and_the_way_out_is_said(world: World) -> None:
    world.tick()
    world.registry.forget("1")
    world.controller.release()
    again = world.again()
    again.nominate("2", against="1")
    again.eventually(lambda: "the registry has it no more" in again.status["message"])
    again.tick()
    table = again.parts.routing.get(NAME)
    assert table is not None
    assert [(arm.version, arm.weight) for arm in table.arms] == [("1", 100.0)]
    assert again.loaded == ("banking-intent/1",)
    degraded = next(c for c in again.status["conditions"] if c["type"] == "Degraded")
    assert degraded["status"] == "True"
    assert "delete ModelDeployment intent-assistant and apply it again" in degraded["message"]
    again.delete("ModelDeployment", NAME)
    again.tick()
    again.apply(deployment())
    again.until("Succeeded")
    assert again.status["stable"] == "2"


def test_a_runtime_that_does_not_exist_is_a_condition(make: Make, tmp_path: Path) -> None:
    world = make(tmp_path, None)
    world.set_up()
    manifest = deployment().model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["metadata"]["name"], manifest["spec"]["runtimeRef"]["name"] = "elsewhere", "nowhere"
    world.apply(ModelDeployment.model_validate(manifest))
    for _ in range(3):
        world.tick()
    world.look()
    stored = world.parts.resources.get("ModelDeployment", "elsewhere")
    assert stored is not None
    degraded = next(c for c in stored.status["conditions"] if c["type"] == "Degraded")
    assert degraded["status"] == "True"
    assert "ModelRuntime nowhere does not exist" in degraded["message"]


def test_a_deployment_that_was_deleted_serves_again_when_it_is_applied_again(world: World) -> None:
    world.tick()
    before = world.parts.routing.last_epoch(NAME)
    world.delete("ModelDeployment", NAME)
    world.tick()
    world.apply(deployment())
    world.until("Succeeded")
    world.tick()
    table = world.parts.routing.get(NAME)
    assert table is not None
    assert table.epoch > before
    assert [arm.version for arm in table.arms] == ["1"]


def test_what_serves_is_not_moved_to_another_engine_or_model(world: World) -> None:
    world.until("Succeeded")
    moved = deployment().model_dump(mode="json", by_alias=True)
    moved["spec"]["runtimeRef"]["name"] = "elsewhere"
    with pytest.raises(Conflict, match=r"cannot (become 'elsewhere'|change from local to elsewhere)"):
        world.apply(ModelDeployment.model_validate(moved))


def test_a_deleted_deployment_is_taken_out_of_routing(world: World) -> None:
    world.tick()
    world.delete("ModelDeployment", NAME)
    world.tick()
    assert world.parts.routing.get(NAME) is None
    assert world.parts.resources.get("ModelDeployment", NAME) is None
