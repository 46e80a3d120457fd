"""The controller over the real stores: what it records, what it publishes, and what it survives."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.controller.loop import Controller, left_out, shared_slots
from serving.rollout.explain import explain, timeline
from tests.integration.controller.conftest import Make
from tests.integration.controller.fakes import FileEngines, signed
from tests.integration.controller.world import NAME, RUNTIME, World, deployment
from tidegate.clock import ManualClock
from tidegate.domain.resources import ModelDeployment, ModelRuntime
from tidegate.errors import Conflict
from tidegate.ports import AdapterSlot

pytestmark = pytest.mark.integration


@pytest.fixture
def world(make: Make, tmp_path: Path) -> World:
    made = make(tmp_path, None)
    made.set_up()
    made.until("Succeeded")
    return made


def leaders(*controllers: Controller) -> list[bool]:
    return [controller.leads for controller in controllers]


def slots(*ids: str) -> tuple[AdapterSlot, ...]:
    return tuple(AdapterSlot(id=name, uri=f"/{name}", digest="sha256:" + "a" * 64, rank=8) for name in ids)


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
    assert loaded(again) == ("banking-intent/1",)
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
    manifest = RUNTIME.model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["engine"]["maxAdapters"] = 2
    world.apply(ModelRuntime.model_validate(manifest))
    other = deployment().model_dump(mode="json", by_alias=True, exclude_none=True)
    other["metadata"]["name"] = "branch-assistant"
    other["spec"]["model"]["source"] = {"type": "Version", "version": "5"}
    world.registry.add(signed("5"))
    world.apply(ModelDeployment.model_validate(other))
    world.eventually(lambda: sorted(loaded(world)) == ["banking-intent/1", "banking-intent/5"])
    world.nominate("2")
    world.eventually(lambda: "no slot" in world.status["message"])
    assert world.status["reason"] == "LoadingAdapter"
    assert "engine local has no slot for banking-intent/2" in world.status["message"]
    assert "raise spec.engine.maxAdapters (2) of ModelRuntime local" in world.status["message"]
    assert sorted(loaded(world)) == ["banking-intent/1", "banking-intent/5"]
    world.delete("ModelDeployment", "branch-assistant")
    world.until("Shadow")


def test_replicas_that_restart_still_hold_what_is_judged(make: Make, tmp_path: Path) -> None:
    """Without a replica none says what it holds. What is judged there must not make room for what is new."""
    world = make(tmp_path, None)
    world.set_up()
    manifest = RUNTIME.model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["engine"]["maxAdapters"] = 3
    world.apply(ModelRuntime.model_validate(manifest))
    other = deployment().model_dump(mode="json", by_alias=True, exclude_none=True)
    other["metadata"]["name"] = "a-branch"  # whose wishes are looked at first
    other["spec"]["model"]["source"] = {"type": "Version", "version": "5"}
    world.registry.add(signed("5"))
    world.apply(ModelDeployment.model_validate(other))
    world.eventually(lambda: sorted(loaded(world)) == ["banking-intent/1", "banking-intent/5"])
    world.nominate("2")
    world.until("Shadow")
    judged = ["banking-intent/1", "banking-intent/2", "banking-intent/5"]
    assert sorted(loaded(world)) == judged
    FileEngines(tmp_path / "engines.json").mood("local", "down")
    other["spec"]["model"]["source"] = {"type": "Version", "version": "6"}
    world.registry.add(signed("6"))
    world.apply(ModelDeployment.model_validate(other))
    for _ in range(6):
        world.tick()
    FileEngines(tmp_path / "engines.json").mood("local", "well")
    world.eventually(lambda: len(loaded(world)) == 3)
    assert sorted(loaded(world)) == judged


def test_a_runtime_is_ready_for_a_generation_that_its_engine_was_told_of(world: World) -> None:
    assert runtime_ready(world) == (1, True)
    manifest = RUNTIME.model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["placement"]["maxReplicas"] = 3
    world.apply(ModelRuntime.model_validate(manifest))
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
    manifest = RUNTIME.model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["placement"]["maxReplicas"] = 3
    world.apply(ModelRuntime.model_validate(manifest))
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


def loaded(world: World) -> tuple[str, ...]:
    status = world.parts.engines.report("local").status
    return status.adapters if status is not None else ()


def test_a_deleted_deployment_is_taken_out_of_routing(world: World) -> None:
    world.tick()
    world.delete("ModelDeployment", NAME)
    world.tick()
    assert world.parts.routing.get(NAME) is None
    assert world.parts.resources.get("ModelDeployment", NAME) is None
