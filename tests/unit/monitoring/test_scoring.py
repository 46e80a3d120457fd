"""Scores of pairs, and the worker that joins labels."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.scoring.scorers import SCORERS, score_pair
from monitoring.scoring.worker import ScoringWorker
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.domain.evidence import ArmAnswer, ArmOutcome, Feedback, Pair
from tidegate.store.evidence import EvidenceStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = {"1": ("card_arrival", "top_up"), "2": ("card_arrival", "top_up")}


def answer(text: str | None, version: str = "1", outcome: ArmOutcome = "ok") -> ArmAnswer:
    return ArmAnswer(version=version, outcome=outcome, text=text, latency_seconds=0.1)


def pair(stable: ArmAnswer, candidate: ArmAnswer, id_: str = "p1") -> Pair:
    return Pair(
        id=id_,
        deployment="d",
        rollout="r",
        step="s",
        epoch=1,
        user="u",
        time=NOW,
        request_id=f"req-{id_}",
        text="where is my card",
        shown="stable",
        stable=stable,
        candidate=candidate,
    )


def scores(one: Pair, label: str | None, *, final: bool = False) -> dict[str, tuple[float | None, float | None]]:
    return {
        event.scorer: (event.stable_score, event.candidate_score)
        for event in score_pair(one, label, LABELS, final=final)
    }


def test_a_label_scores_both_arms() -> None:
    found = scores(pair(answer("card_arrival"), answer(" top_up\n", "2")), "card_arrival")
    assert found["exact-match"] == (1.0, 0.0)
    assert found["valid-label"] == (1.0, 1.0)


@pytest.mark.parametrize("outcome", ["timeout", "error", "invalid"])
def test_a_candidate_that_fails_has_lost_in_every_metric(outcome: ArmOutcome) -> None:
    found = scores(pair(answer("card_arrival"), answer(None, "2", outcome)), "card_arrival")
    assert {candidate for _, candidate in found.values()} == {0.0}


def test_before_the_label_only_what_needs_none_is_said_and_after_the_horizon_it_is_missing_for_both() -> None:
    one = pair(answer("card_arrival"), answer(None, "2", "timeout"))
    assert set(scores(one, None)) == {"valid-label", "no-refusal"}
    assert scores(one, None, final=True)["exact-match"] == (None, None)


def test_an_answer_outside_the_version_s_labels_is_invalid_and_a_refusal_is_told() -> None:
    found = scores(pair(answer("I'm sorry, I cannot help"), answer("top_up", "2")), "top_up")
    assert found["valid-label"] == (0.0, 1.0)
    assert found["no-refusal"] == (0.0, 1.0)


@given(text=st.text(max_size=80), label=st.text(min_size=1, max_size=30))
def test_every_score_is_a_share(text: str, label: str) -> None:
    for name, (stable, _) in scores(pair(answer(text), answer(text, "2")), label).items():
        assert name in SCORERS
        assert stable is None or 0.0 <= stable <= 1.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path / 'x.db'}")
    yield database
    database.close()


def worker(db: Database, clock: ManualClock, holder: str = "a") -> ScoringWorker:
    return ScoringWorker(
        db,
        clock,
        holder=holder,
        lease_seconds=10,
        label_horizon_seconds=60,
        find_labels=lambda _deployment, version: LABELS.get(version),
    )


def events(store: EvidenceStore) -> dict[str, tuple[float | None, float | None]]:
    return {event.scorer: (event.stable_score, event.candidate_score) for event in store.pair_events("r")}


def label_of(one: Pair, value: str) -> Feedback:
    return Feedback(
        id=f"f-{one.id}", request_id=one.request_id, deployment="d", kind="label", value=value, source="t", time=NOW
    )


def test_a_late_label_completes_a_pair_within_the_horizon(db: Database) -> None:
    clock = ManualClock(NOW)
    store, one = EvidenceStore(db, clock), pair(answer("card_arrival"), answer("top_up", "2"))
    store.add_pairs([one])
    scoring = worker(db, clock)
    assert scoring.tick() == 0
    assert set(events(store)) == {"valid-label", "no-refusal"}
    clock.advance(30)
    store.add_feedback([label_of(one, "top_up")])
    assert scoring.tick() == 1
    assert events(store)["exact-match"] == (0.0, 1.0)
    assert scoring.tick() == 0


def test_a_pair_without_a_label_is_missing_after_the_horizon(db: Database) -> None:
    clock = ManualClock(NOW)
    store = EvidenceStore(db, clock)
    store.add_pairs([pair(answer("card_arrival"), answer("top_up", "2"))])
    scoring = worker(db, clock)
    scoring.tick()
    clock.advance(61)
    assert scoring.tick() == 1
    assert events(store)["exact-match"] == (None, None)


def test_two_workers_do_not_score_at_once_and_the_second_takes_over(db: Database) -> None:
    clock = ManualClock(NOW)
    store = EvidenceStore(db, clock)
    first, second = worker(db, clock, "a"), worker(db, clock, "b")
    assert first.tick() == 0
    one = pair(answer("top_up"), answer("top_up", "2"))
    store.add_pairs([one])
    store.add_feedback([label_of(one, "top_up")])
    assert second.tick() == -1
    clock.advance(11)
    assert second.tick() == 1
    assert len(store.pair_events("r")) == len(SCORERS)


def test_pairs_that_wait_do_not_hold_up_new_ones(db: Database) -> None:
    clock = ManualClock(NOW + timedelta(seconds=1))
    store = EvidenceStore(db, clock)
    store.add_pairs([pair(answer("top_up"), answer("top_up", "2"), f"w{n:04}") for n in range(600)])
    scoring = worker(db, clock)
    for _ in range(3):
        scoring.tick()
        clock.advance(1)
    late = pair(answer("top_up"), answer("top_up", "2"), "zz")
    store.add_pairs([late])
    store.add_feedback([label_of(late, "top_up")])
    assert scoring.tick() == 1
