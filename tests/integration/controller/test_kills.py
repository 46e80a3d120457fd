"""SIGKILL at every boundary around a record and an act: the next controller goes on, and nothing happens twice.

`TIDEGATE_KILLS` sets how often the controller is killed (a few in CI); tests/bench/kills.py does it some hundred times.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.controller.conftest import Make
from tests.integration.controller.killing import FARTHEST, controlled
from tests.integration.controller.world import NAME, World

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("TIDEGATE_KILLS", "12"))
_LEASE_SECONDS = 1.0


def published(world: World) -> list[dict[str, Any]]:
    return [entry.payload["table"] for entry in world.ledger.entries(kind="routing.published", subject=NAME)]


def check_nothing_happened_twice(world: World) -> None:
    epochs = [table["epoch"] for table in published(world)]
    assert epochs == sorted(set(epochs))
    transitions = Counter(
        (entry.rollout, entry.payload["to_phase"], entry.payload["step"], entry.payload["reason"])
        for entry in world.ledger.entries(kind="rollout.transition", subject=NAME)
    )
    assert max(transitions.values()) == 1, transitions.most_common(3)
    assert world.ledger.verify().ok


def kill_through(make: Make, tmp_path: Path, outcomes: str, phase: str, number: str) -> World:
    """Nominates a version and kills controllers until it has been decided."""
    world = make(tmp_path, None)
    world.nominate(number)
    dice = random.Random(7)
    kills = 0
    for _ in range(10 * KILLS):
        attempt = world.state.attempt
        if kills >= KILLS and world.state.phase == phase and attempt is not None and attempt.candidate == number:
            break
        after = dice.randint(1, FARTHEST) if kills < KILLS else None
        kills += controlled(lambda: make(tmp_path, None, _LEASE_SECONDS), tmp_path, outcomes, after, ticks=8)
        world.around(outcomes)
    assert world.status["phase"] == phase
    assert kills >= KILLS
    return world


def test_a_good_version_is_promoted_through_any_number_of_kills(make: Make, tmp_path: Path) -> None:
    make(tmp_path, None).set_up()
    controlled(lambda: make(tmp_path, None, _LEASE_SECONDS), tmp_path, "", None, 8)
    world = kill_through(make, tmp_path, "+=+=+", "Succeeded", "2")
    assert world.status["stable"] == "2"
    check_nothing_happened_twice(world)
    full = next(
        t["epoch"] for t in published(world) for arm in t["arms"] if (arm["version"], arm["weight"]) == ("2", 100)
    )
    passes = [
        entry.payload
        for entry in world.ledger.entries(kind="rollout.decision", subject=NAME)
        if entry.payload["reason"] == "GatesPassed"
    ]
    assert len(passes) == 1
    assert passes[0]["epoch"] == full
    assert passes[0]["passed"]


def test_a_bad_version_never_gets_a_user_through_any_number_of_kills(make: Make, tmp_path: Path) -> None:
    make(tmp_path, None).set_up()
    controlled(lambda: make(tmp_path, None, _LEASE_SECONDS), tmp_path, "", None, 8)
    world = kill_through(make, tmp_path, "-=-=-", "RolledBack", "2")
    assert world.status["stable"] == "1"
    check_nothing_happened_twice(world)
    shares = [arm["weight"] for table in published(world) for arm in table["arms"] if arm["version"] == "2"]
    assert max(shares, default=0.0) == 0.0
