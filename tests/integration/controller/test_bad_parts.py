"""Registry and engines that answer nonsense, through the real adapters: traffic stays, it is said, and it heals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from serving.engines.catalog import render
from tests.integration.controller.conftest import Make
from tests.integration.controller.faulty_peer import FaultyPeer, Mood, Part
from tests.integration.controller.test_known_bugs import at_half, users
from tests.integration.controller.world import World
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.adapters.mlflow_rest import MlflowRest
from tidegate.adapters.serve_engines import ServeEngines
from tidegate.errors import NotFound
from tidegate.ports import Engines, Registry
from tidegate.store.tables import arm_windows, pair_events

pytestmark = pytest.mark.integration

MOODS: tuple[Mood, ...] = ("HTTP 500", "timeout", "HTML", "empty body", "cut off", "another shape")
_IMPATIENT = 0.3
"""How long one waits for a part that never answers (s); what answers has all the time that a busy machine needs."""
_PATIENT = 60.0
Calls = dict[Part, httpx.Client]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[FaultyPeer]:
    with FaultyPeer(tmp_path) as made:
        yield made


@pytest.fixture
def calls() -> Calls:
    """What the controller asks each part with."""
    return {}


@pytest.fixture
def world(make: Make, peer: FaultyPeer, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Version 1 serves; registry and engines are the real adapters, which ask the peer."""

    def outside(_: World) -> tuple[Registry, Engines]:
        rest = MlflowRest(peer.uri, patience=_IMPATIENT, timeout=_PATIENT)
        engines = ServeEngines(
            dashboard_url=peer.uri, token="t", engine_url=peer.uri, lock=tmp_path / "engines.lock", render=render
        )
        calls.update({"mlflow": rest._client, "ray": engines._client, "replica": engines._replicas})
        engines._client.timeout = engines._replicas.timeout = _PATIENT
        return MlflowRegistry(peer.uri, cache=tmp_path / "cache", rest=rest), engines

    monkeypatch.setattr(World, "outside", outside)
    made = make(tmp_path, None)
    made.set_up()
    made.until("Succeeded")
    for _ in range(2):
        made.tick()
    return made


def test_a_ray_that_asks_for_no_token_is_sent_none(peer: FaultyPeer, tmp_path: Path) -> None:
    """An empty bearer is no header that HTTP allows: the request would never leave."""
    engines = ServeEngines(
        dashboard_url=peer.uri, token="", engine_url=peer.uri, lock=tmp_path / "engines.lock", render=render
    )
    with pytest.raises(NotFound):
        engines.status("never-declared")


def nominated_amid(world: World, peer: FaultyPeer, calls: Calls, part: Part, mood: Mood, rounds: int) -> None:
    """Nominates version 2 while a part misbehaves, for so many rounds; then it is sound again."""
    peer.moods[part] = mood
    calls[part].timeout = _IMPATIENT if mood == "timeout" else _PATIENT
    world.nominate("2")
    for _ in range(rounds):
        world.tick()
    peer.moods.clear()
    calls[part].timeout = _PATIENT


def degraded(world: World) -> str | None:
    found = next(c for c in world.status["conditions"] if c["type"] == "Degraded")
    return str(found["message"]) if found["status"] == "True" else None


@pytest.mark.parametrize("mood", MOODS)
def test_a_registry_that_answers_nonsense_moves_nothing_and_heals(
    world: World, peer: FaultyPeer, calls: Calls, mood: Mood
) -> None:
    nominated_amid(world, peer, calls, "mlflow", mood, rounds=2)
    assert users(world) == {"1": 100.0}
    said = degraded(world) or ""
    assert peer.uri in said, said
    assert "Check the setting mlflow_uri" in said or "tidegate status" in said, said
    world.until("Shadow")
    assert degraded(world) is None


@pytest.mark.parametrize("mood", MOODS)
def test_an_engine_that_answers_nonsense_moves_nothing_and_heals(
    world: World, peer: FaultyPeer, calls: Calls, mood: Mood
) -> None:
    nominated_amid(world, peer, calls, "ray", mood, rounds=3)
    assert (world.state.phase, users(world)) == ("Preflight", {"1": 100.0})
    said = degraded(world) or ""
    assert peer.uri in said, said
    assert "tidegate" in said.split("answer")[-1], said
    world.until("Shadow")
    assert degraded(world) is None


@pytest.mark.parametrize("mood", ["HTTP 500", "HTML", "empty body", "another shape"])
def test_replicas_that_answer_nonsense_hold_no_version_for_sure(
    world: World, peer: FaultyPeer, calls: Calls, mood: Mood
) -> None:
    nominated_amid(world, peer, calls, "replica", mood, rounds=3)
    assert (world.state.phase, world.state.reason) == ("Preflight", "LoadingAdapter")
    assert "1 of 1 replicas of engine 'local' do not answer" in world.state.message
    assert users(world) == {"1": 100.0}
    world.until("Shadow")


@pytest.mark.parametrize("mood", ["HTTP 500", "HTML"])
def test_with_every_part_out_of_order_harm_and_people_are_still_heard(
    world: World, peer: FaultyPeer, mood: Mood
) -> None:
    world.nominate("2")
    at_half(world)
    parts: tuple[Part, ...] = ("mlflow", "ray", "replica")
    peer.moods |= dict.fromkeys(parts, mood)
    world.tick("+=")
    assert users(world) == {"1": 50.0, "2": 50.0}
    world.ask("abort", "ada")
    world.tick()
    assert users(world) == {"1": 100.0}


def _spoil(world: World, table: sa.Table, **values: Any) -> None:
    with world.parts.db.write() as conn:
        conn.execute(sa.update(table).values(**values))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda world: _spoil(world, arm_windows, body='{"requests": "NaN"}'),
        lambda world: _spoil(world, pair_events, stable_score=7.5, recorded_at=world.clock.now()),
    ],
    ids=["a block of requests", "a score"],
)
def test_evidence_that_is_not_understood_moves_nothing_and_people_are_heard(
    world: World, spoil: Callable[[World], None]
) -> None:
    world.nominate("2")
    at_half(world)
    world.controller.release()
    again = world.again()  # what was read before is not read again
    spoil(again)
    again.tick()
    assert (again.state.phase, again.state.reason) == ("Step", "EvidenceUnreadable")
    assert users(again) == {"1": 50.0, "2": 50.0}
    assert "Traffic stays where it is" in again.state.message
    again.ask("abort", "ada")
    again.tick()
    assert users(again) == {"1": 100.0}
