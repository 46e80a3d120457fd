"""Where nobody can start a retraining, its request is kept, says so, and is started once somebody can."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from monitoring.retraining.decisions import RetrainDecisions
from monitoring.retraining.dispatcher import NOBODY, Dispatcher
from tests.unit.store.examples import request
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.domain.drift import RetrainRequest
from tidegate.ports import RunFailure, RunLauncher
from tidegate.store.retraining import RetrainStore


class Launched:
    """Starts runs that go on for ever."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, request: RetrainRequest) -> str:
        self.started.append(request.key)
        return request.key

    def state(self, run: str) -> Literal["running", "succeeded", "failed"]:
        del run
        return "running"

    def failure(self, run: str) -> RunFailure | None:
        del run
        return None

    def since(self, run: str) -> datetime | None:
        del run
        return None


def dispatcher(db: Database, clock: ManualClock, launcher: RunLauncher | None, holder: str) -> Dispatcher:
    decisions = RetrainDecisions(db, clock, cooldown_seconds=60)
    return Dispatcher(
        db=db,
        clock=clock,
        decisions=decisions,
        launcher=launcher,
        holder=holder,
        lease_seconds=10,
        max_attempts=2,
    )


def test_a_request_waits_for_somebody_who_can_start_it(tmp_path: Path) -> None:
    db, clock, launched = Database.open(f"sqlite:///{tmp_path / 'tidegate.db'}"), ManualClock(), Launched()
    requests = RetrainStore(db, clock)
    requests.create(request("k1"))
    alone = dispatcher(db, clock, None, "recording")
    for _ in range(3):
        assert alone.tick()
        clock.advance(1)
    waiting = requests.get("k1")
    assert waiting is not None
    assert (waiting.status, waiting.status_reason, waiting.attempts) == ("pending", NOBODY, 0)
    written = waiting.updated_at
    alone.tick()
    again = requests.get("k1")
    assert again is not None
    assert again.updated_at == written  # said once, not every round
    alone.release()

    assert dispatcher(db, clock, launched, "starting").tick()
    started = requests.get("k1")
    assert started is not None
    assert (started.status, launched.started) == ("running", ["k1"])
