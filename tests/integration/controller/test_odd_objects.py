"""Objects that people, backups and broken programs have written: an abort is carried out, and users stay or go back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.controller.fakes import signed
from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.test_restored import change
from tests.integration.controller.world import NAME, counted, deployment, runtime
from tests.kube_api import KubeApi
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.gateways import EPOCHS, GATEWAY_LABELS
from tidegate.adapters.kube.kinds import CONTROLLER_REVISION, EVENT, LEASE, OWN, ApiKind
from tidegate.errors import InvalidInput, Unavailable
from tidegate.kube_codec import time_text
from tidegate.ledger import Ledger

pytestmark = pytest.mark.integration


@pytest.fixture
def world(kube_api: KubeApi, tmp_path: Path) -> KubeWorld:
    """With a lease that does not run out: a change of leaders would heal some of this."""
    made = KubeWorld(tmp_path, kube_api, kube_api.make_namespace())
    made.set_up()
    made.until("Succeeded")
    for _ in range(3):
        made.tick()
    return made


def weights(world: KubeWorld) -> list[tuple[str, float]]:
    world.look()
    table = world.parts.routing.get(NAME)
    return [(arm.version, arm.weight) for arm in table.arms] if table is not None else []


def at_half(world: KubeWorld) -> None:
    world.nominate("2")
    world.until("Shadow")
    world.eventually(lambda: weights(world) == [("1", 50.0), ("2", 50.0)], outcomes="+=+=+")


def aborted(world: KubeWorld, rounds: int = 4) -> None:
    """Asks, and wants all users back within so many rounds."""
    world.ask("abort", "ada", "wrong answers")
    for _ in range(rounds):
        world.tick()
    assert weights(world) == [("1", 100.0)]


def failing(monkeypatch: pytest.MonkeyPatch, method: str, what: Callable[[ApiKind], bool], error: Exception) -> None:
    """Lets one kind of call fail."""
    real = getattr(Client, method)

    def away(self: Client, kind: ApiKind, *arguments: Any, **options: Any) -> Any:
        if what(kind):
            raise error
        return real(self, kind, *arguments, **options)

    monkeypatch.setattr(Client, method, away)


@pytest.mark.parametrize("garbage", ['"abc"', "1e999", "null", "[]", "true"])
def test_a_gateway_that_says_nonsense_lags_and_keeps_nobody_from_aborting(world: KubeWorld, garbage: str) -> None:
    at_half(world)
    notes = {EPOCHS: f'{{"{NAME}": {garbage}}}'}
    metadata = {"name": "gateway-odd", "labels": dict(GATEWAY_LABELS), "annotations": notes}
    world.client().create(LEASE, {"metadata": metadata, "spec": {"holderIdentity": "odd"}})
    world.eventually(lambda: "gateway-odd" in world.parts.routing.acks(NAME))
    assert world.parts.routing.acks(NAME)["gateway-odd"] == -1
    aborted(world)


def test_gateways_that_cannot_be_asked_keep_nobody_from_aborting(
    world: KubeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_half(world)
    failing(monkeypatch, "list", lambda kind: kind is LEASE, Unavailable("the API server answers leases with 500"))
    aborted(world)


@pytest.mark.parametrize("hours", [1, -1])
def test_nothing_advances_while_a_gateway_s_clock_is_wrong(world: KubeWorld, hours: int) -> None:
    at_half(world)
    notes = {EPOCHS: json.dumps({NAME: 999})}
    metadata = {"name": "gateway-odd", "labels": dict(GATEWAY_LABELS), "annotations": notes}
    world.client().create(LEASE, {"metadata": metadata, "spec": {"holderIdentity": "odd"}})

    def renewed() -> None:
        said = time_text(world.clock.now() + timedelta(hours=hours))
        world.client().patch(LEASE, "gateway-odd", {"spec": {"renewTime": said}})

    def known_as_wrong() -> bool:
        renewed()
        return world.parts.routing.acks(NAME).get("gateway-odd") == -1

    world.eventually(known_as_wrong)
    for _ in range(6):
        renewed()
        world.tick("+=+=+")
    assert weights(world) == [("1", 50.0), ("2", 50.0)]
    assert world.status["reason"] == "WaitingForGateways"
    assert "gateway-odd" in world.status["message"]
    aborted(world)


@pytest.mark.parametrize("seconds", [90.0, -90.0])
def test_a_gateway_whose_clock_is_a_little_off_hides_no_errors(world: KubeWorld, seconds: float) -> None:
    """Off by less than what stops a rollout; nearly no traffic of its own, while all others' requests fail."""
    at_half(world)
    for _ in range(30):
        table = world.parts.routing.get(NAME)
        assert table is not None
        at = world.clock.now() + timedelta(seconds=seconds)
        windows = [
            counted(table, arm, at, requests=1, gateway="odd") for arm in table.arms if table.rollout is not None
        ]
        world.parts.evidence.add_windows(windows)
        world.tick("+=+", errors=10)
        if world.status["phase"] not in {"Step", "Baking"}:
            break
    assert world.status["phase"] in {"RollingBack", "RolledBack"}, world.status["message"]
    assert weights(world) == [("1", 100.0)]


def test_users_are_back_before_anybody_is_told(world: KubeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that takes seconds for each Event and answer must not keep users on a bad version."""
    at_half(world)
    seen: list[list[tuple[str, int]]] = []
    reader, create, append = world.client(), Client.create, Ledger.append_many

    def routed() -> list[tuple[str, int]]:
        body = reader.get(OWN["ModelRouting"], NAME)
        return [(arm["version"], arm["weight"]) for arm in (body or {"spec": {"arms": []}})["spec"]["arms"]]

    def created(self: Client, kind: ApiKind, body: dict[str, Any]) -> Any:
        if kind is EVENT and body["reason"] == "Aborted":
            seen.append(routed())
        return create(self, kind, body)

    def appended(self: Ledger, drafts: Any, **options: Any) -> Any:
        if any(draft.payload.get("reason") == "Aborted" for draft in drafts):
            seen.append(routed())
        return append(self, drafts, **options)

    world.ask("abort", "ada", "wrong answers")
    monkeypatch.setattr(Client, "create", created)
    monkeypatch.setattr(Ledger, "append_many", appended)
    world.tick()
    assert seen
    assert all(arms == [("1", 100)] for arms in seen), seen


def test_an_answer_that_the_api_server_refuses_stops_no_abort(
    world: KubeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_half(world)
    refused = InvalidInput("a webhook says no")
    failing(monkeypatch, "replace", lambda kind: kind is OWN["RolloutAction"], refused)
    aborted(world)


def test_what_was_asked_is_done_once_however_long_answers_cannot_be_written(
    world: KubeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_half(world)
    with monkeypatch.context() as patched:
        failing(patched, "replace", lambda kind: kind is OWN["RolloutAction"], Unavailable("500"))
        world.ask("pause", "ada", "first")
        world.tick()
        world.ask("resume", "ada")
        world.tick()
        for number in range(70):
            world.ask("approve", "ada", str(number))
        for _ in range(8):
            world.tick()
    for _ in range(10):
        world.tick()
    told = world.ledger.entries(kind="rollout.transition", subject=NAME, limit=1000)
    times = Counter(entry.payload["action"] for entry in told if entry.payload.get("action"))
    assert len(times) == 72
    assert set(times.values()) == {1}
    assert not world.parts.actions.pending(NAME)


@pytest.mark.parametrize("said", ["x", "99999999999", "-3", "٣"])
def test_an_odd_epoch_on_an_object_keeps_nobody_from_leading(world: KubeWorld, said: str) -> None:
    world.client().patch(OWN["ModelRouting"], NAME, {"metadata": {"annotations": {"tidegate.dev/leader-epoch": said}}})
    world.controller.release()
    again = world.again()
    for _ in range(4):
        again.tick()
    assert again.controller.leads


def test_a_higher_epoch_that_appears_under_a_leader_makes_it_lead_again(world: KubeWorld) -> None:
    at_half(world)

    def higher(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "status": {**body["status"], "leaderEpoch": 500}}

    change(world, "ModelDeployment", NAME, higher, status=True)
    aborted(world, rounds=8)


def test_a_routing_that_somebody_removed_by_hand_is_published_again(world: KubeWorld) -> None:
    def gone(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "spec": {**body["spec"], "removed": True, "arms": [], "epoch": body["spec"]["epoch"] + 1}}

    change(world, "ModelRouting", NAME, gone)
    for _ in range(4):
        world.tick()
    assert weights(world) == [("1", 100.0)]


def test_a_routing_that_cannot_be_read_is_published_again_and_an_abort_is_heard(world: KubeWorld) -> None:
    at_half(world)

    def odd(body: dict[str, Any]) -> dict[str, Any]:
        arms = [{**arm, "generation": {**arm["generation"], "temperature": "9"}} for arm in body["spec"]["arms"]]
        return {**body, "spec": {**body["spec"], "arms": arms, "epoch": body["spec"]["epoch"] + 1}}

    change(world, "ModelRouting", NAME, odd)
    aborted(world, rounds=6)


def test_a_version_that_no_routing_can_hold_says_so_once_and_moves_nobody(world: KubeWorld) -> None:
    made = signed("2")
    labels = tuple(f"label_{number}" for number in range(1500))
    world.registry.add(made.model_copy(update={"prompt": made.prompt.model_copy(update={"labels": labels})}))
    world.registry.set_alias("banking-intent", "challenger", "2")
    for _ in range(6):
        world.tick()
    before, events = world.status, world.client().list(EVENT)[0]
    for _ in range(6):
        world.tick()
    assert weights(world) == [("1", 100.0)]
    moving = {"eta", "etaSeconds"}
    assert {key: world.status[key] for key in before.keys() - moving} == {
        key: before[key] for key in before.keys() - moving
    }
    assert len(world.client().list(EVENT)[0]) == len(events)  # no storm of them
    degraded = next(item for item in world.status["conditions"] if item["type"] == "Degraded")
    assert "labels" in degraded["message"]
    assert "register the version within them" in degraded["message"]


def test_a_runtime_that_is_being_deleted_is_not_called_missing(world: KubeWorld) -> None:
    world.delete("ModelRuntime", "local")
    world.eventually(lambda: "is being deleted" in str(world.status["conditions"]))
    assert weights(world) == [("1", 100.0)]


def test_revisions_that_nothing_uses_are_forgotten(world: KubeWorld) -> None:
    for number in range(14):
        world.apply(runtime(image=f"registry.example/engine:{number}"))
        world.tick()
    world.tick()
    names = {body["revision"] for body in world.client().list(CONTROLLER_REVISION)[0]}
    assert 1 in names  # users are on it
    assert len(names) <= 12
    assert weights(world) == [("1", 100.0)]


def test_a_plan_still_applies_after_all_that(world: KubeWorld) -> None:
    world.apply(deployment(bakeSeconds=1))
    at_half(world)
    aborted(world)
