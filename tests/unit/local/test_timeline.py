"""What the timeline picture shows, and that its labels do not cover each other."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidegate.ledger import LedgerEntry
from tidegate.local.demo.timeline import draw_timeline, label_rows, marks, published

_START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _entry(seq: int, kind: str, payload: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        seq=seq,
        id=f"{seq:026d}",
        kind=kind,
        time=_START + timedelta(seconds=seq * 10),
        actor="controller",
        subject="intent-assistant",
        rollout=None,
        payload_text=json.dumps(payload),
        prev_hash="sha256:" + "0" * 64,
        hash="sha256:" + "0" * 64,
    )


def _routing(seq: int, weights: dict[str, float], mirror: float = 0.0) -> LedgerEntry:
    arms = [{"version": version, "weight": weight} for version, weight in weights.items()]
    return _entry(seq, "routing.published", {"table": {"arms": arms, "mirror": {"percent": mirror}}})


def _move(seq: int, version: int, phase: str, reason: str) -> LedgerEntry:
    payload = {"rollout": f"intent-assistant-v{version}-{seq}", "to_phase": phase, "reason": reason}
    return _entry(seq, "rollout.transition", payload)


_ENTRIES = [
    _move(0, 1, "Succeeded", "InitialDeployment"),
    _routing(1, {"1": 100.0}),
    _entry(2, "retrain.requested", {"deployment": "intent-assistant"}),
    _routing(3, {"1": 100.0, "2": 0.0}, mirror=100.0),
    _move(3, 2, "Shadow", "StepStarted"),
    _routing(4, {"1": 50.0, "2": 50.0}),
    _move(5, 2, "RollingBack", "HarmFound"),
    _move(5, 2, "RolledBack", "HarmFound"),
    _routing(6, {"1": 100.0}),
]


def test_marks_say_what_happened_to_which_version_and_the_first_version_has_none() -> None:
    assert [mark.text for mark in marks(_ENTRIES)] == [
        "drift alert: retraining",
        "version 2 in shadow",
        "version 2 rolled back",
    ]


def test_a_version_is_shadowed_only_while_it_gets_copies() -> None:
    assert [item.shadowed for item in published(_ENTRIES)] == [None, "2", None, None]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    picture = draw_timeline(_ENTRIES, "intent-assistant", tmp_path / "timeline.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_facts_the_picture_is_empty_but_there(tmp_path: Path) -> None:
    assert draw_timeline([], "intent-assistant", tmp_path / "timeline.png").stat().st_size > 0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 30)), max_size=20))
def test_labels_of_one_row_do_not_overlap(labels: list[tuple[float, float]]) -> None:
    spans = [(left, left + width) for left, width in labels]
    placed = list(zip(label_rows(spans), spans, strict=True))
    for row, (left, right) in placed:
        others = [other for number, other in placed if number == row and other != (left, right)]
        assert all(right <= other[0] or other[1] <= left for other in others)
