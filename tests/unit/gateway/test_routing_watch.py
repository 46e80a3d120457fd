"""The last good routing stays in force, epochs only grow, and every change is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from serving.gateway.metrics import Metrics
from serving.gateway.routing_watch import RoutingWatch
from tests.unit.gateway.tables import MODEL, table
from tidegate.clock import ManualClock
from tidegate.domain.routing import RoutingTable
from tidegate.errors import Unavailable


class Source:
    """A routing store in memory that can be away. The real one is behind the integration tests' gateway."""

    def __init__(self) -> None:
        self.tables: list[RoutingTable] = []
        self.token = 0
        self.away = False
        self.acks: list[tuple[str, int]] = []

    def publish(self, *tables: RoutingTable) -> None:
        self.tables, self.token = list(tables), self.token + 1

    def change_token(self) -> int:
        if self.away:
            raise Unavailable("the database is away")
        return self.token

    def all(self) -> list[RoutingTable]:
        return self.tables

    def acknowledge_all(self, gateway: str, epochs: Mapping[str, int]) -> None:
        self.acks += list(epochs.items())

    def forget_gateway(self, gateway: str) -> None:
        self.acks.append((gateway, -1))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.source, self.clock, self.folder = Source(), ManualClock(), folder
        self.prepared: list[int] = []
        self.watch = self.make()

    def make(self) -> RoutingWatch:
        return RoutingWatch(
            lambda: self.source,
            prepare=lambda tables: self.prepared.extend(table.epoch for table in tables),
            gateway="g",
            path=self.folder / "routing.json",
            poll_seconds=1.0,
            ack_seconds=2.5,
            clock=self.clock,
            metrics=Metrics(),
        )

    def epoch(self) -> int | None:
        found = self.watch.find(MODEL)
        return None if found is None else found.epoch


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_new_epoch_is_prepared_taken_and_acknowledged(bench: Bench) -> None:
    assert not bench.watch.informed
    bench.source.publish(table("http://e", epoch=1))
    bench.watch.poll()
    assert (bench.epoch(), bench.prepared, bench.source.acks) == (1, [1], [(MODEL, 1)])
    assert bench.watch.informed


def test_an_unchanged_epoch_is_acknowledged_again_as_a_sign_of_life(bench: Bench) -> None:
    bench.source.publish(table("http://e", epoch=1))
    for seconds in (0.0, 1.0, 1.0, 1.0):
        bench.clock.advance(seconds)
        bench.watch.poll()
    assert bench.source.acks == [(MODEL, 1), (MODEL, 1)]


def test_a_lower_epoch_is_refused_and_the_held_one_acknowledged(bench: Bench) -> None:
    bench.source.publish(table("http://e", epoch=5))
    bench.watch.poll()
    bench.source.publish(table("http://e", epoch=4))
    bench.watch.poll()
    assert (bench.epoch(), bench.source.acks[-1]) == (5, (MODEL, 5))


def test_the_last_good_routing_survives_the_store_and_a_restart(bench: Bench) -> None:
    bench.source.publish(table("http://e", epoch=2))
    bench.watch.poll()
    bench.source.away = True
    bench.watch.poll()
    assert bench.epoch() == 2
    assert bench.watch.problem == "the database is away"
    bench.watch = bench.make()
    bench.watch.load()
    bench.watch.poll()
    assert bench.epoch() == 2
    bench.source.away = False
    bench.watch.poll()
    assert bench.watch.problem is None


def test_a_deleted_deployment_is_served_no_longer(bench: Bench) -> None:
    bench.source.publish(table("http://e", epoch=2))
    bench.watch.poll()
    bench.source.publish()
    bench.watch.poll()
    assert bench.epoch() is None
    assert bench.watch.informed


def test_a_damaged_file_is_no_obstacle(bench: Bench) -> None:
    (bench.folder / "routing.json").write_text("{half")
    bench.watch.load()
    assert bench.watch.tables == {}
    assert not bench.watch.informed
