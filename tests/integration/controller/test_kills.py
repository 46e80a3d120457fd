"""SIGKILL at every boundary around a record and an act: the next controller goes on, and nothing happens twice.

`TIDEGATE_KILLS` sets how often the controller is killed (a few in CI; the proof takes 500).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.controller.reconcile import Reconciler
from serving.operator.actions import KubeActions
from serving.operator.objects import Objects
from serving.operator.routing import KubeRouting
from tests.integration.controller.conftest import Make
from tests.integration.controller.fakes import FileEngines, FileRegistry
from tests.integration.controller.world import NAME, World
from tidegate.ledger import Ledger
from tidegate.store.resources import ResourceStore
from tidegate.store.routing import RoutingStore

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("TIDEGATE_KILLS", "12"))
_LEASE_SECONDS = 1.0
_FARTHEST = 20
"""Boundaries that a controller may pass before it is killed: about three ticks' worth."""
BOUNDARIES: tuple[tuple[type, str], ...] = (
    (Reconciler, "_record"),
    (ResourceStore, "update_status"),  # inside the transaction
    (RoutingStore, "publish"),
    (Ledger, "append_many"),  # on a cluster between the status and the act
    (Objects, "create"),
    (Objects, "replace"),
    (KubeRouting, "publish"),
    (KubeActions, "answer"),
    (FileEngines, "ensure"),
    (FileRegistry, "set_alias"),
)


class Killer:
    """Kills this process when so many boundaries have been passed."""

    def __init__(self, after: int) -> None:
        self._left = after

    def count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.count()
            result = method(*args, **kwargs)
            self.count()
            return result

        return guarded


def controlled(make: Make, home: Path, outcomes: str, killed_after: int | None, ticks: int) -> bool:
    """Runs a controller in a process of its own; True when it was killed."""
    child = os.fork()
    if child == 0:
        if killed_after is not None:
            killer = Killer(killed_after)
            for owner, name in BOUNDARIES:
                setattr(owner, name, killer.around(getattr(owner, name)))
        world = make(home, None, _LEASE_SECONDS)
        while not world.controller.leads:  # the lease of the one that was killed runs out
            world.controller.round()
            time.sleep(world.lease_ttl / 10)
        for _ in range(ticks):
            world.tick(outcomes)
        world.controller.release()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


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
        after = dice.randint(1, _FARTHEST) if kills < KILLS else None
        kills += controlled(make, tmp_path, outcomes, killed_after=after, ticks=8)
        world.around(outcomes)
    assert world.status["phase"] == phase
    assert kills >= KILLS
    return world


def test_a_good_version_is_promoted_through_any_number_of_kills(make: Make, tmp_path: Path) -> None:
    make(tmp_path, None).set_up()
    controlled(make, tmp_path, "", None, 8)
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
    controlled(make, tmp_path, "", None, 8)
    world = kill_through(make, tmp_path, "-=-=-", "RolledBack", "2")
    assert world.status["stable"] == "1"
    check_nothing_happened_twice(world)
    shares = [arm["weight"] for table in published(world) for arm in table["arms"] if arm["version"] == "2"]
    assert max(shares, default=0.0) == 0.0
