from datetime import timedelta

import pytest

from tests.unit.store.examples import START, event, feedback, pair, window
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.store.evidence import EvidenceStore


@pytest.fixture
def store(db: Database, clock: ManualClock) -> EvidenceStore:
    return EvidenceStore(db, clock)


def test_pairs_are_stored_once_and_given_out_oldest_first(store: EvidenceStore) -> None:
    store.add_pairs([pair(2, seconds=2), pair(1, seconds=1)])
    store.add_pairs([pair(1, seconds=1)])
    assert [found.id for found in store.unscored_pairs(10)] == ["p1", "p2"]
    assert store.pairs("r1") == [pair(1, seconds=1), pair(2, seconds=2)]
    assert store.pairs("r2") == []


def test_a_pair_that_waits_for_its_label_does_not_hold_up_newer_ones(store: EvidenceStore, clock: ManualClock) -> None:
    store.add_pairs([pair(number, seconds=number) for number in range(1, 4)])
    store.add_scores([event(1, None, None)], done_pairs=[])
    assert [found.id for found in store.unscored_pairs(2)] == ["p2", "p3"]
    clock.advance(1)
    store.add_scores([], done_pairs=["p3"], looked_at=["p2"])
    assert [found.id for found in store.unscored_pairs(10)] == ["p1", "p2"]


def test_a_score_counts_once_and_only_a_missing_one_is_filled_later(
    store: EvidenceStore, db: Database, clock: ManualClock
) -> None:
    store.add_pairs([pair(1)])
    assert store.add_scores([event(1, None, None), event(1, 1.0, 0.0, "valid-label")], []) == 2
    assert store.add_scores([event(1, 1.0, 0.0), event(1, 0.0, 1.0, "valid-label")], ["p1"]) == 1
    assert store.add_scores([event(1, None, None), event(1, 0.5, 0.5)], ["p1"]) == 0
    assert store.pair_events("r1") == [event(1, 1.0, 0.0), event(1, 1.0, 0.0, "valid-label")]
    assert store.unscored_pairs(10) == []
    assert len(Ledger(db, clock).entries(kind="pair.scored", rollout="r1")) == 3


def test_a_late_score_fills_the_missing_arm_without_touching_the_other(store: EvidenceStore) -> None:
    store.add_scores([event(1, 0.25, None)], [])
    assert store.add_scores([event(1, 1.0, 0.75)], []) == 1
    assert store.pair_events("r1") == [event(1, 0.25, 0.75)]


def test_more_pairs_than_a_statement_takes_parameters_are_marked(store: EvidenceStore) -> None:
    store.add_pairs([pair(number) for number in range(1200)])
    store.add_scores([], [f"p{number}" for number in range(1200)])
    assert store.unscored_pairs(10) == []


def test_a_window_written_again_replaces_the_counts_of_its_block(store: EvidenceStore) -> None:
    store.add_windows([window(3), window(7, gateway="g2"), window(5, minute=1), window(1, rollout=None, minute=2)])
    store.add_windows([window(4)])
    found = store.windows("intent-assistant", rollout="r1")
    assert {(item.gateway, item.block_start.minute): item.requests for item in found} == {
        ("g1", 0): 4,
        ("g2", 0): 7,
        ("g1", 1): 5,
    }
    assert len(store.windows("intent-assistant")) == 4
    since = store.windows("intent-assistant", since=START + timedelta(minutes=1))
    assert [item.requests for item in since] == [5, 1]


def test_the_first_label_of_a_request_counts_and_ratings_are_no_labels(store: EvidenceStore) -> None:
    store.add_feedback(
        [
            feedback(2, "q1", "second", seconds=2),
            feedback(1, "q1", "first", seconds=1),
            feedback(3, "q2", "0.5", kind="rating"),
        ]
    )
    store.add_feedback([feedback(1, "q1", "changed")])
    assert store.labels(["q1", "q2", "q3"]) == {"q1": "first"}
    assert [item.id for item in store.feedback("intent-assistant", limit=2)] == ["f1", "f2"]


def test_requests_are_known_from_gateways_and_from_pairs(store: EvidenceStore) -> None:
    store.note_requests("intent-assistant", {"q9": START})
    store.note_requests("intent-assistant", {"q9": START})
    store.add_pairs([pair(1)])
    assert [store.request_exists(name) for name in ("q9", "q1", "q5")] == [True, True, False]
    assert store.forget_requests(START + timedelta(seconds=1)) == 1
    assert not store.request_exists("q9")


def test_nothing_to_write_is_fine(store: EvidenceStore) -> None:
    store.add_pairs([])
    store.add_windows([])
    store.add_feedback([])
    store.note_requests("intent-assistant", {})
    assert store.add_scores([], []) == 0
    assert store.labels([]) == {}
