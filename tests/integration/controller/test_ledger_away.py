"""A cluster without its ledger: nothing is judged, people are heard, and every fact arrives once in the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.world import NAME
from tests.kube_api import KubeApi
from tests.tcp_proxy import TcpProxy, tcp_proxy
from tests.unit.store.databases import create_database, postgres_url

__all__ = ["postgres_url"]

pytestmark = pytest.mark.integration


@pytest.fixture
def wire(postgres_url: str) -> Iterator[TcpProxy]:
    address = sa.make_url(postgres_url)
    with tcp_proxy(str(address.host), int(address.port or 5432)) as made:
        yield made


@pytest.fixture
def world(kube_api: KubeApi, postgres_url: str, wire: TcpProxy, tmp_path: Path) -> KubeWorld:
    name = create_database(postgres_url)
    url = sa.make_url(postgres_url).set(port=wire.port, database=name).render_as_string(hide_password=False)
    made = KubeWorld(tmp_path, kube_api, kube_api.make_namespace(), database_url=url)
    made.set_up()
    made.until("Succeeded")
    made.tick()
    made.nominate("2")
    made.until("Shadow")
    return made


def rounds(world: KubeWorld, count: int) -> None:
    """Without traffic: its evidence would have nowhere to go."""
    for _ in range(count):
        world.look()
        world.controller.round()
        table = world.parts.routing.get(NAME)
        assert table is not None
        world.acknowledge(table.epoch)
        time.sleep(0.3)  # acknowledgements are looked at that often


def check_the_record_is_whole(world: KubeWorld) -> None:
    told = Counter(
        (entry.payload["time"], entry.payload["reason"], entry.payload["message"])
        for entry in world.ledger.entries(kind="rollout.transition", subject=NAME)
    )
    wanted = Counter((item.model_dump(mode="json")["time"], item.reason, item.message) for item in world.state.history)
    assert told == wanted
    epochs = [e.payload["table"]["epoch"] for e in world.ledger.entries(kind="routing.published", subject=NAME)]
    assert epochs == sorted(set(epochs))
    table = world.parts.routing.get(NAME)
    assert table is not None
    assert epochs[-1] == table.epoch
    assert world.ledger.verify().ok


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_an_abort_is_carried_out_without_the_ledger_which_learns_of_it_later(
    world: KubeWorld, wire: TcpProxy, how: str
) -> None:
    getattr(wire, how)()
    rounds(world, 2)
    assert world.state.reason == "EvidenceUnreadable"
    degraded = next(item for item in world.status["conditions"] if item["type"] == "Degraded")
    assert degraded["status"] == "True"
    assert "does not answer" in degraded["message"]
    asked = world.ask("abort", "ada", "a drill")
    rounds(world, 4)
    assert world.state.phase == "RolledBack"
    assert world.answer(asked) == "Aborted by ada (a drill)."
    table = world.parts.routing.get(NAME)
    assert table is not None
    assert [arm.version for arm in table.arms] == ["1"]
    wire.mend()
    time.sleep(1.1)  # a database that was silent is not asked for a second
    world.tick()
    world.tick()
    check_the_record_is_whole(world)
    decisions = world.ledger.entries(kind="rollout.decision", subject=NAME)
    assert ("ada", "Aborted") in {(decision.actor, decision.payload["reason"]) for decision in decisions}


def test_an_operator_that_starts_afterwards_tells_what_the_one_before_could_not(
    world: KubeWorld, wire: TcpProxy
) -> None:
    wire.cut()
    world.ask("abort", "ada")
    rounds(world, 4)
    assert world.state.phase == "RolledBack"
    world.controller.release()  # it dies with its facts
    wire.mend()
    time.sleep(1.1)
    again = world.again()
    again.tick()
    again.tick()
    check_the_record_is_whole(world)


def test_a_lease_that_is_taken_again_meanwhile_loses_no_fact(world: KubeWorld, wire: TcpProxy) -> None:
    wire.cut()
    world.ask("abort", "ada")
    rounds(world, 4)
    world.controller.release()
    rounds(world, 2)
    wire.mend()
    time.sleep(1.1)
    world.tick()
    world.tick()
    check_the_record_is_whole(world)
