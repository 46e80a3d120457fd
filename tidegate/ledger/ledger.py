"""The ledger: facts, appended in one hash chain, answering what was in production at a moment and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.errors import InvalidInput
from tidegate.ids import canonical_json, new_id
from tidegate.ledger import table
from tidegate.ledger.entry import KINDS, Draft, Kind, LedgerEntry, row_hash
from tidegate.ledger.serving import Serving, serving_at
from tidegate.ledger.verify import Anchor, VerifyResult, verify_chain

_VERIFY_BATCH = 1000
_ACTOR = 255
"""Characters of the column; the names of some service accounts are longer, and the beginning says which it is."""


class Ledger:
    """Append-only facts. Triggers refuse UPDATE and DELETE; every row carries its predecessor's hash."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def append(
        self,
        kind: Kind,
        subject: str,
        payload: dict[str, Any],
        *,
        actor: str,
        rollout: str | None = None,
        conn: sa.Connection | None = None,
    ) -> LedgerEntry:
        """Appends one fact.

        Args:
            kind: one of `tidegate.ledger.KINDS`.
            subject: what it is about, for example the deployment's name.
            payload: JSON-serialisable details; no NaN or infinity.
            actor: who or what did it.
            rollout: the rollout it belongs to.
            conn: a connection of `db.write()`: the fact is committed together with the caller's changes, or not at all.

        Raises:
            InvalidInput: an unknown kind, or a payload without a JSON form.
        """
        draft = Draft(kind=kind, subject=subject, payload=payload, actor=actor, rollout=rollout)
        return self.append_many([draft], conn=conn)[0]

    def append_many(self, drafts: Sequence[Draft], *, conn: sa.Connection | None = None) -> list[LedgerEntry]:
        """Appends facts in order, in one transaction; those whose id is there already, or came before, are left out.

        Returns:
            What was appended.
        """
        if not drafts:
            return []
        texts = {id(draft): _payload_text(draft) for draft in drafts}
        with self._db.write(conn) as own:
            # The head row is the queue: whoever holds its lock appends next (SQLite: the write lock does the same).
            head = own.execute(sa.select(table.head.c.seq, table.head.c.hash).with_for_update()).one()
            seq, last_hash, now, entries = int(head.seq), str(head.hash), self._clock.now(), []
            known = _known_ids(own, drafts)
            for draft in drafts:
                if draft.id in known:
                    continue
                if draft.id is not None:
                    known.add(draft.id)
                seq += 1
                entry = LedgerEntry(
                    seq=seq,
                    id=draft.id or new_id(),
                    time=now,
                    kind=draft.kind,
                    subject=draft.subject,
                    rollout=draft.rollout,
                    actor=draft.actor[:_ACTOR],
                    payload_text=texts[id(draft)],
                    prev_hash=last_hash,
                    hash="",
                )
                last_hash = row_hash(last_hash, entry)
                entries.append(replace(entry, hash=last_hash))
            if entries:
                own.execute(sa.insert(table.entries), [_to_row(entry) for entry in entries])
                own.execute(sa.update(table.head).values(seq=seq, hash=last_hash))
        return entries

    def entries(
        self,
        kind: str | None = None,
        subject: str | None = None,
        rollout: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[LedgerEntry]:
        """The facts that match all that is given, oldest first; with `limit`, the newest so many of them.

        `kind` matches exactly or, ending in a dot, as a prefix ('rollout.'). `since` is inclusive, `until` exclusive.
        """
        query = sa.select(table.entries)
        columns = table.entries.c
        if kind is not None:
            query = query.where(columns.kind.startswith(kind) if kind.endswith(".") else columns.kind == kind)
        if subject is not None:
            query = query.where(columns.subject == subject)
        if rollout is not None:
            query = query.where(columns.rollout == rollout)
        if since is not None:
            query = query.where(columns.time >= since)
        if until is not None:
            query = query.where(columns.time < until)
        query = query.order_by(columns.seq.desc() if limit is not None else columns.seq).limit(limit)
        with self._db.read() as conn:
            found = [_to_entry(row) for row in conn.execute(query)]
        return found[::-1] if limit is not None else found

    def get(self, entry_id: str) -> LedgerEntry | None:
        """The fact with this id, or None."""
        with self._db.read() as conn:
            row = conn.execute(sa.select(table.entries).where(table.entries.c.id == entry_id)).one_or_none()
        return None if row is None else _to_entry(row)

    def at(self, seq: int) -> LedgerEntry | None:
        """The fact with this number, or None."""
        with self._db.read() as conn:
            row = conn.execute(sa.select(table.entries).where(table.entries.c.seq == seq)).one_or_none()
        return None if row is None else _to_entry(row)

    def anchor(self) -> Anchor:
        """The chain's head now. Kept outside the database, it lets a later `verify` see even a rewritten chain."""
        with self._db.read() as conn:
            row = conn.execute(sa.select(table.head.c.seq, table.head.c.hash)).one()
        return Anchor(seq=int(row.seq), hash=str(row.hash))

    def verify(self, anchor: Anchor | None = None) -> VerifyResult:
        """Recomputes the chain and names the first row that does not fit.

        An edited, deleted, inserted or reordered row breaks the chain; a cut tail disagrees with the head row. The
        limit: whoever may write to the whole database can recompute every hash and the head as well. Against that,
        pass an `anchor` that was kept elsewhere (`tidegate ledger verify` prints it): its row must still be there.
        """
        with self._db.read() as conn:
            head = conn.execute(sa.select(table.head.c.seq, table.head.c.hash)).one_or_none()
            query = sa.select(table.entries).order_by(table.entries.c.seq).execution_options(yield_per=_VERIFY_BATCH)
            return verify_chain(
                (_to_entry(row) for row in conn.execute(query)),
                head=None if head is None else Anchor(seq=int(head.seq), hash=str(head.hash)),
                kept=anchor,
            )

    def serving_at(self, deployment: str, time: datetime) -> Serving | None:
        """What was in production for a deployment at a moment, and the recorded decision behind it; None: nothing."""
        until = sa.and_(table.entries.c.subject == deployment, table.entries.c.time <= time)
        routed = table.entries.c.kind.in_(("routing.published", "routing.removed"))
        published = sa.select(table.entries).where(until, routed)
        with self._db.read() as conn:
            row = conn.execute(published.order_by(table.entries.c.seq.desc()).limit(1)).one_or_none()
            if row is None or row.kind == "routing.removed":
                return None
            routing = _to_entry(row)
            reasons = conn.execute(
                sa.select(table.entries)
                .where(
                    until,
                    table.entries.c.kind.in_(("rollout.decision", "rollout.transition")),
                    table.entries.c.seq <= routing.seq,
                    table.entries.c.rollout == routing.rollout,
                )
                .order_by(table.entries.c.seq.desc())
                .limit(2)
            )
            return serving_at(routing, [_to_entry(reason) for reason in reasons])


def _known_ids(conn: sa.Connection, drafts: Sequence[Draft]) -> set[str]:
    ids = [draft.id for draft in drafts if draft.id is not None]
    if not ids:
        return set()
    return set(conn.execute(sa.select(table.entries.c.id).where(table.entries.c.id.in_(ids))).scalars())


def _payload_text(draft: Draft) -> str:
    if draft.kind not in KINDS:
        raise InvalidInput(
            f"ledger kind {draft.kind!r} is unknown", next_step=f"Use one of {', '.join(sorted(KINDS))}."
        )
    try:
        return canonical_json(draft.payload)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the payload of {draft.kind} for {draft.subject!r} has no JSON form: {error}",
            next_step="Give plain JSON values, without NaN or infinity.",
        ) from None


def _to_row(entry: LedgerEntry) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in table.entries.c.keys() if name != "payload"}  # noqa: SIM118
    return {**row, "payload": entry.payload_text}


def _to_entry(row: sa.Row[Any]) -> LedgerEntry:
    return LedgerEntry(
        seq=row.seq,
        id=row.id,
        time=row.time,
        kind=row.kind,
        subject=row.subject,
        rollout=row.rollout,
        actor=row.actor,
        payload_text=row.payload,
        prev_hash=row.prev_hash,
        hash=row.hash,
    )
