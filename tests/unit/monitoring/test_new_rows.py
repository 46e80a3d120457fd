"""Rows for a retraining: what the log holds twice is one of them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitoring.retraining.rows import export_new_rows
from tests.unit.gateway.test_inference_log import NOON, row
from tidegate import inference_log
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.evidence import Feedback
from tidegate.errors import InvalidInput
from tidegate.settings import Settings
from tidegate.store.evidence import EvidenceStore


def test_a_batch_that_was_written_twice_counts_once(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    batch = [row(NOON + timedelta(minutes=10 * number), f"r{number}") for number in range(9)]  # of two hours
    for _ in range(2):  # as after a failure that came behind the first part
        inference_log.write_rows(settings.inference_log.uri, batch)
    _label(settings, {"r0": NOON, "r4": NOON, "r8": NOON})
    out = tmp_path / "rows.jsonl"
    assert export_new_rows("m", NOON, out, 3, settings=settings) == 3
    assert sorted(json.loads(line)["id"] for line in out.read_text().splitlines()) == ["r0", "r4", "r8"]
    with pytest.raises(InvalidInput, match=r"3 requests of 'm'.*a retraining needs 4"):
        export_new_rows("m", NOON, out, 4, settings=settings)


def test_a_label_that_comes_after_the_last_run_makes_its_request_new(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    hours = {"before": -1, "a day before": -25, "known": -1, "too old": -24 * 8, "after": 1, "silent": 2}
    inference_log.write_rows(
        settings.inference_log.uri, [row(NOON + timedelta(hours=number), name) for name, number in hours.items()]
    )
    later, earlier = NOON + timedelta(hours=3), NOON - timedelta(minutes=5)
    _label(
        settings, dict.fromkeys(("before", "a day before", "too old", "after", "of nobody"), later) | {"known": earlier}
    )
    _label(settings, {"known": later}, again=True)  # the first label counts, and it is old
    out = tmp_path / "rows.jsonl"
    assert export_new_rows("m", NOON, out, 1, settings=settings) == 3
    assert {json.loads(line)["id"] for line in out.read_text().splitlines()} == {"after", "before", "a day before"}


def _label(settings: Settings, times: dict[str, datetime], *, again: bool = False) -> None:
    db = Database.open(settings.database_url)
    EvidenceStore(db, SystemClock()).add_feedback(
        [
            Feedback(
                id=f"f-{request}{again:d}",
                request_id=request,
                deployment="m",
                kind="label",
                value="refund",
                source="test",
                time=time,
            )
            for request, time in times.items()
        ]
    )
    db.close()
