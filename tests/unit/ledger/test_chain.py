"""Tampering with the chain: pure properties, and edits in a real database whose triggers were dropped."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.ids import canonical_json
from tidegate.ledger import GENESIS, Anchor, Ledger, LedgerEntry
from tidegate.ledger.entry import row_hash
from tidegate.ledger.verify import verify_chain

payloads = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3), min_size=1)


def chain(contents: Sequence[dict[str, object]]) -> list[LedgerEntry]:
    last, entries = GENESIS, []
    for seq, content in enumerate(contents, start=1):
        entry = LedgerEntry(
            seq=seq,
            id=f"{seq:026d}",
            time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=seq),
            kind="alias.set",
            subject="m/1",
            rollout=None,
            actor="a",
            payload_text=canonical_json(content),
            prev_hash=last,
            hash="",
        )
        last = row_hash(last, entry)
        entries.append(replace(entry, hash=last))
    return entries


def head_of(entries: Sequence[LedgerEntry]) -> Anchor:
    return Anchor(entries[-1].seq, entries[-1].hash) if entries else Anchor(0, GENESIS)


@given(payloads)
def test_an_untouched_chain_verifies(contents: list[dict[str, object]]) -> None:
    entries = chain(contents)
    result = verify_chain(entries, head_of(entries))
    assert result.ok
    assert (result.rows, result.head) == (len(entries), head_of(entries))


edits = st.sampled_from(
    [
        {"payload_text": '{"edited":true}'},
        {"actor": "someone else"},
        {"subject": "m/2"},
        {"rollout": "r9"},
        {"kind": "rollout.decision"},
        {"time": datetime(2025, 1, 1, tzinfo=UTC)},
        {"id": "another id"},
    ]
)


@given(payloads, edits, st.data())
def test_an_edited_row_is_the_first_bad_one(
    contents: list[dict[str, object]], edit: dict[str, object], data: st.DataObject
) -> None:
    entries = chain(contents)
    at = data.draw(st.integers(0, len(entries) - 1))
    tampered = [*entries[:at], replace(entries[at], **edit), *entries[at + 1 :]]  # type: ignore[arg-type]
    assert verify_chain(tampered, head_of(entries)).bad_seq == at + 1


@given(payloads, st.data())
def test_an_edited_row_with_a_recomputed_hash_breaks_the_row_after(
    contents: list[dict[str, object]], data: st.DataObject
) -> None:
    entries = chain(contents)
    at = data.draw(st.integers(0, len(entries) - 1))
    edited = replace(entries[at], actor="someone else")
    edited = replace(edited, hash=row_hash(edited.prev_hash, edited))
    result = verify_chain([*entries[:at], edited, *entries[at + 1 :]], head_of(entries))
    assert not result.ok
    assert result.bad_seq == at + 2  # the next row, or past the end, where the head row disagrees


@given(payloads, st.data())
def test_a_deleted_row_is_missed_wherever_it_was(contents: list[dict[str, object]], data: st.DataObject) -> None:
    entries = chain(contents)
    at = data.draw(st.integers(0, len(entries) - 1))
    result = verify_chain([*entries[:at], *entries[at + 1 :]], head_of(entries))
    assert not result.ok
    assert "missing" in result.reason


@given(payloads.filter(lambda contents: len(contents) > 1), st.data())
def test_two_rows_that_change_places_are_found(contents: list[dict[str, object]], data: st.DataObject) -> None:
    entries = chain(contents)
    first = data.draw(st.integers(0, len(entries) - 2))
    second = data.draw(st.integers(first + 1, len(entries) - 1))
    swapped = list(entries)
    swapped[first] = replace(entries[second], seq=entries[first].seq)
    swapped[second] = replace(entries[first], seq=entries[second].seq)
    assert verify_chain(swapped, head_of(entries)).bad_seq == first + 1


@given(payloads, payloads)
def test_a_rewritten_chain_is_found_by_an_anchor_kept_elsewhere(
    before: list[dict[str, object]], after: list[dict[str, object]]
) -> None:
    original, rewritten = chain(before), chain([{"rewritten": True}, *after])
    kept = head_of(original)
    assert verify_chain(rewritten, head_of(rewritten)).ok  # the limit that `Ledger.verify` names
    assert not verify_chain(rewritten, head_of(rewritten), kept).ok


@given(payloads, payloads)
def test_an_anchor_stays_good_while_the_chain_grows(
    before: list[dict[str, object]], after: list[dict[str, object]]
) -> None:
    entries = chain([*before, *after])
    assert verify_chain(entries, head_of(entries), head_of(entries[: len(before)])).ok


@pytest.mark.parametrize(
    ("statement", "bad_seq"),
    [
        ("UPDATE ledger SET payload = '{\"weight\":100}' WHERE seq = 2", 2),
        ("DELETE FROM ledger WHERE seq = 2", 3),
        ("DELETE FROM ledger WHERE seq = 4", 4),
        ("DELETE FROM ledger", 1),
        ("DELETE FROM ledger_head", 5),
    ],
)
def test_an_edit_of_the_file_is_found(tmp_path: Path, statement: str, bad_seq: int) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'tidegate.db'}")
    ledger = Ledger(db, ManualClock())
    for weight in range(4):
        ledger.append("routing.published", "d", {"weight": weight}, actor="c")
    with db.write() as conn:
        triggers = conn.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in triggers:
            conn.execute(sa.text(f"DROP TRIGGER {name}"))
        conn.exec_driver_sql(statement)
    result = ledger.verify()
    assert not result.ok
    assert result.bad_seq == bad_seq
