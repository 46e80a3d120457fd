"""Counts as gateways really write them: again and again, over restarts, and late. Each counts once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from serving.controller.evidence_log import EvidenceLog
from serving.rollout.blocks import SETTLE_SECONDS, blocks
from tests.unit.rollout.builders import window
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.domain.evidence import ArmWindow
from tidegate.store.evidence import EvidenceStore


class Log:
    """A rollout's evidence between the gateways that write it and the judge that reads it."""

    def __init__(self, home: Path) -> None:
        self.clock = ManualClock()
        db = Database.open(f"sqlite:///{home / 'tidegate.db'}")
        self.block = self.clock.now()
        self.store = EvidenceStore(db, self.clock)
        self._log = EvidenceLog(db, self.store, "d", "r", self.clock.now() - timedelta(minutes=1))

    def write(self, requests: int, errors: int = 0, *, gateway: str = "g-1", block: datetime | None = None) -> None:
        made = window("candidate", requests, errors, gateway=gateway)
        self.store.add_windows([made.model_copy(update={"block_start": block or self.block})])

    def judged(self, seconds: float = SETTLE_SECONDS) -> list[tuple[int, int]]:
        """(requests, errors) of the candidate in every closed block, so long after the first block's start."""
        found = blocks(self._log.read(self.clock.now()).windows, self.block + timedelta(seconds=seconds))
        return [(each.candidate.requests, each.candidate.errors) for each in found]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_a_block_that_is_written_again_and_again_counts_once(log: Log) -> None:
    for requests, errors in ((5, 0), (9, 1), (12, 1)):
        log.write(requests, errors)
        log.judged()
    assert log.judged() == [(12, 1)]


def test_a_gateway_that_restarts_in_mid_block_starts_from_zero_and_nothing_is_lost(log: Log) -> None:
    log.write(12, 2)
    log.judged()
    log.write(1, gateway="g-2")  # every process has an id of its own
    log.judged()
    log.write(5, 1, gateway="g-2")
    assert log.judged() == [(17, 3)]


def test_a_late_repetition_of_an_older_write_counts_nothing_twice(log: Log) -> None:
    log.write(12, 2)
    log.judged()
    log.write(9, 1)
    assert log.judged() == [(9, 1)]


def test_a_block_that_gateways_still_add_to_is_not_judged(log: Log) -> None:
    log.write(7, 7)
    assert log.judged(SETTLE_SECONDS - 0.1) == []
    assert log.judged() == [(7, 7)]


def test_a_gateway_that_is_late_by_half_a_minute_is_heard(log: Log) -> None:
    log.write(10)
    log.write(10, block=log.block + timedelta(seconds=30))
    assert log.judged(60) == [(10, 0), (10, 0)]
    log.write(4, 4, gateway="g-2")
    assert log.judged(60) == [(14, 4), (10, 0)]


def test_more_errors_than_requests_are_no_more_than_all_requests(log: Log) -> None:
    broken: ArmWindow = window("candidate", 9).model_copy(update={"errors": 5, "requests": 3})
    log.store.add_windows([broken.model_copy(update={"block_start": log.block})])
    assert log.judged() == [(3, 3)]


def test_what_was_written_after_an_outage_is_read(log: Log) -> None:
    log.write(10)
    log.judged()
    log.clock.advance(600)  # nobody reads, and a gateway keeps what it counts
    log.write(4, 4, block=log.block + timedelta(seconds=5))
    assert log.judged(60) == [(10, 0), (4, 4)]


def test_a_gateway_that_alone_had_an_outage_is_heard_within_a_minute(log: Log) -> None:
    log.write(10)
    for second in range(0, 400, 5):
        log.clock.advance(5)
        log.write(1, block=log.block + timedelta(seconds=second + 5))
        log.judged()
    log.write(4, 4, gateway="g-2")
    for _ in range(13):
        log.clock.advance(5)
        found = log.judged()
    assert found == [(14, 4)]
