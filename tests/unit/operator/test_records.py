"""Facts that wait for the ledger: none is lost, and one that it cannot hold keeps no other waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from serving.operator.records import KubeRecords
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.errors import Unavailable
from tidegate.ledger import Draft, Ledger, LedgerEntry, fact_id

Fails = Callable[[Draft], Exception | None]


class Refusing:
    """The real ledger, which refuses facts by what `fails` says of them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.fails: Fails = lambda _: None

    def append_many(self, drafts: Sequence[Draft]) -> list[LedgerEntry]:
        for draft in drafts:
            error = self.fails(draft)
            if error is not None:
                raise error
        return self.ledger.append_many(drafts)


@pytest.fixture
def ledger(db: Database, clock: Clock) -> Refusing:
    return Refusing(Ledger(db, clock))


@pytest.fixture
def records(ledger: Refusing) -> KubeRecords:
    """Only the queue is used here; tests/integration/controller has the rest, on a real API server."""
    unused = cast(Any, None)
    return KubeRecords(unused, unused, unused, unused, cast(Ledger, ledger), cast(Any, lambda call: call()))


def fact(number: int) -> Draft:
    name = f"d{number}"
    return Draft("rollout.transition", name, {}, "controller", id=fact_id("rollout.transition", name, [number]))


def told(ledger: Refusing) -> list[str]:
    return [entry.subject for entry in ledger.ledger.entries()]


def test_a_fact_that_the_ledger_cannot_hold_is_left_out_and_the_others_arrive(
    records: KubeRecords, ledger: Refusing
) -> None:
    ledger.fails = lambda draft: ValueError("out of range") if draft.subject == "d2" else None
    records._offer("d", [fact(1), fact(2), fact(3)])
    records.flush()
    assert told(ledger) == ["d1", "d3"]
    assert records.waiting == 0


def test_a_ledger_that_goes_away_while_facts_are_offered_one_by_one_gets_them_later(
    records: KubeRecords, ledger: Refusing
) -> None:
    away = Unavailable("the database does not answer")
    seen: list[str] = []

    def fails(draft: Draft) -> Exception | None:
        seen.append(draft.subject)
        if draft.subject == "d1":
            return ValueError("out of range") if seen.count("d1") == 1 else None
        return away

    ledger.fails = fails
    records._offer("d", [fact(1), fact(2), fact(3)])
    records.flush()
    assert told(ledger) == ["d1"]
    assert records.waiting == 2
    ledger.fails = lambda _: None
    records.flush()
    assert told(ledger) == ["d1", "d2", "d3"]
    assert records.waiting == 0


def test_facts_wait_in_order_while_the_ledger_is_away(records: KubeRecords, ledger: Refusing) -> None:
    ledger.fails = lambda _: Unavailable("the database does not answer")
    records._offer("d", [fact(1)])
    records.flush()
    records._offer("d", [fact(1), fact(2)])
    records.flush()
    assert (told(ledger), records.waiting) == ([], 2)
    ledger.fails = lambda _: None
    records.flush()
    assert told(ledger) == ["d1", "d2"]
