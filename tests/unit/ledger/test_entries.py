import math
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import InvalidInput
from tidegate.ledger import GENESIS, Draft, Ledger, LedgerEntry


@pytest.fixture
def ledger(db: Database, clock: ManualClock) -> Ledger:
    return Ledger(db, clock)


def test_facts_come_back_as_they_were_appended(ledger: Ledger, clock: ManualClock) -> None:
    payload = {"alias": "challenger", "text": "Umlaut ä, emoji 🌊", "number": 0.1, "nested": {"list": [1, None]}}
    entry = ledger.append("alias.set", "banking-intent/2", payload, actor="cli:anna", rollout="r1")
    assert ledger.entries() == [entry]
    assert entry.payload == payload
    assert entry.time == clock.now()
    assert (entry.seq, entry.prev_hash) == (1, GENESIS)
    assert ledger.get(entry.id) == ledger.at(1) == entry
    assert ledger.get("absent") is None


def test_each_row_names_the_hash_of_the_row_before(ledger: Ledger) -> None:
    drafts = [Draft("pair.scored", f"p{number}", {}, "scorer") for number in range(3)]
    first = ledger.append_many(drafts)
    second = ledger.append("alias.set", "m/1", {}, actor="a")
    assert [entry.prev_hash for entry in [*first, second]] == [GENESIS, *(entry.hash for entry in first)]
    assert ledger.append_many([]) == []


def test_a_fact_that_is_told_twice_is_kept_once_also_within_one_batch(ledger: Ledger) -> None:
    fact = Draft("pair.scored", "p", {}, "scorer", id="F1")
    assert [entry.id for entry in ledger.append_many([fact, fact])] == ["F1"]
    assert ledger.append_many([fact]) == []
    assert ledger.verify().ok


def test_facts_are_found_by_what_they_are_about(ledger: Ledger, clock: ManualClock) -> None:
    start = clock.now()
    ledger.append("rollout.started", "d1", {}, actor="c", rollout="r1")
    clock.advance(10)
    ledger.append("rollout.decision", "d1", {}, actor="c", rollout="r1")
    clock.advance(10)
    ledger.append("alias.set", "m/1", {}, actor="c")

    def kinds(found: list[LedgerEntry]) -> list[str]:
        return [entry.kind for entry in found]

    assert kinds(ledger.entries(kind="rollout.")) == ["rollout.started", "rollout.decision"]
    assert kinds(ledger.entries(kind="alias.set")) == ["alias.set"]
    assert kinds(ledger.entries(subject="d1", limit=1)) == ["rollout.decision"]
    assert kinds(ledger.entries(rollout="r1", since=start + timedelta(seconds=10))) == ["rollout.decision"]
    assert kinds(ledger.entries(until=start + timedelta(seconds=10))) == ["rollout.started"]
    assert kinds(ledger.entries(limit=2)) == ["rollout.decision", "alias.set"]


def test_an_unknown_kind_and_a_number_without_a_json_form_are_refused(ledger: Ledger) -> None:
    with pytest.raises(InvalidInput, match=r"'alias\.gone'"):
        ledger.append("alias.gone", "m/1", {}, actor="a")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"pair\.scored for 'p1'"):
        ledger.append("pair.scored", "p1", {"score": math.nan}, actor="a")
    assert ledger.entries() == []
    assert ledger.verify().ok


def test_a_fact_is_undone_with_the_transaction_it_belongs_to(ledger: Ledger, db: Database) -> None:
    def append_and_fail() -> None:
        with db.write() as conn:
            ledger.append("alias.set", "m/1", {}, actor="a", conn=conn)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        append_and_fail()
    assert ledger.entries() == []
    ledger.append("alias.set", "m/1", {}, actor="a")
    assert ledger.verify().ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET actor = 'someone else'",
        "DELETE FROM ledger",
        "DELETE FROM ledger_head",
        "UPDATE ledger_head SET seq = 0",
        "UPDATE ledger_head SET hash = 'other'",
    ],
)
def test_the_database_refuses_to_change_the_past(ledger: Ledger, db: Database, statement: str) -> None:
    ledger.append("alias.set", "m/1", {}, actor="a")

    def change() -> None:
        with db.write() as conn:
            conn.execute(sa.text(statement))

    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        change()
    assert ledger.verify().ok
