"""Checking the hash chain: a pure function of the rows and the head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.ledger.entry import GENESIS, LedgerEntry, row_hash


@dataclass(frozen=True, slots=True)
class Anchor:
    """A row's number and hash, as the chain's head row or a copy kept elsewhere holds them."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """`ok`, or the first row that does not fit and why. `head` is the last row that was read."""

    ok: bool
    rows: int
    head: Anchor
    bad_seq: int | None = None
    reason: str = ""


def verify_chain(entries: Iterable[LedgerEntry], head: Anchor | None, kept: Anchor | None = None) -> VerifyResult:
    """Walks the rows in order of `seq`, from the genesis hash to the head."""
    last = Anchor(seq=0, hash=GENESIS)
    seen_kept = kept is None or kept == last
    for entry in entries:
        reason = _misfit(entry, last)
        if reason:
            return VerifyResult(ok=False, rows=last.seq, head=last, bad_seq=entry.seq, reason=reason)
        last = Anchor(seq=entry.seq, hash=entry.hash)
        seen_kept = seen_kept or last == kept
    reason = _wrong_end(last, head)
    if reason:
        return VerifyResult(ok=False, rows=last.seq, head=last, bad_seq=last.seq + 1, reason=reason)
    if kept is not None and not seen_kept:
        reason = f"row {kept.seq} does not have the hash {kept.hash} that was kept elsewhere: the chain was rewritten"
        return VerifyResult(ok=False, rows=last.seq, head=last, bad_seq=kept.seq, reason=reason)
    return VerifyResult(ok=True, rows=last.seq, head=last)


def _misfit(entry: LedgerEntry, last: Anchor) -> str:
    if entry.seq != last.seq + 1:
        return f"row {last.seq + 1} is missing: row {entry.seq} follows row {last.seq}"
    if entry.prev_hash != last.hash:
        return f"row {entry.seq} does not follow the row before it: its prev_hash is another one"
    if row_hash(last.hash, entry) != entry.hash:
        return f"row {entry.seq} was changed: its content does not give its hash"
    return ""


def _wrong_end(last: Anchor, head: Anchor | None) -> str:
    if head is None:
        return "the head row is missing"
    if head.seq > last.seq:
        return f"rows {last.seq + 1} to {head.seq} are missing at the end"
    if head != last:
        return f"the head row names row {head.seq}, but the chain ends with row {last.seq}"
    return ""
