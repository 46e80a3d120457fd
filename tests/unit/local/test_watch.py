"""The demo waits as long as something moves, and no longer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import Unavailable
from tidegate.local.demo import watch
from tidegate.local.demo.narrator import Narrator
from tidegate.local.demo.watch import Status, Watcher

_LONG = 60.0
"""How long nothing may change, in s of the clock that goes on by a third of it at every look."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watcher(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watcher]:
    monkeypatch.setattr(watch, "_POLL_SECONDS", 0.0)
    db = Database.open(f"sqlite:///{tmp_path / 'tidegate.db'}")
    narrator = Narrator(Console(file=io.StringIO()))
    yield Watcher(db, "intent-assistant", narrator, lambda: clock.advance(_LONG / 3), clock)
    db.close()


def test_a_rollout_that_moves_is_waited_for_beyond_the_limit(
    watcher: Watcher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = count()
    monkeypatch.setattr(watcher, "status", lambda: {"phase": "Progressing", "candidate": "2", "pairs": next(pairs)})
    found: Status = watcher.wait("the end", lambda status: status["pairs"] >= 50, _LONG)
    assert found["pairs"] == 50
    assert clock.monotonic() > 10 * _LONG


def test_a_rollout_that_stands_still_is_given_up(
    watcher: Watcher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = ({"phase": "Paused", "etaSeconds": number} for number in count())
    monkeypatch.setattr(watcher, "status", lambda: next(states))
    with pytest.raises(Unavailable, match=r"the end did not happen, and nothing has changed for 60 s: phase Paused"):
        watcher.wait("the end", lambda _: False, _LONG)
    assert _LONG < clock.monotonic() <= 2 * _LONG


def test_a_retraining_that_nobody_asks_for_is_given_up(watcher: Watcher, clock: ManualClock) -> None:
    with pytest.raises(Unavailable, match=r"banking-intent has not moved for 60 s: retraining is not requested yet"):
        watcher.wait_for_retraining("banking-intent", _LONG)
    assert _LONG < clock.monotonic() <= 3 * _LONG
