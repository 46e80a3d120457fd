"""Evidence of a rollout: mirrored pairs, their scores, and per-arm counts in time blocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.domain.evidence import ArmWindow, Pair, PairEvent
from tidegate.ids import digest_json
from tidegate.ledger import Draft, Ledger
from tidegate.store.feedback import FeedbackStore
from tidegate.store.tables import arm_windows, pair_events, pairs

_EVENT_KEY = ("rollout", "pair", "scorer")


class EvidenceStore(FeedbackStore):
    """Pairs, pair events, arm windows, and the feedback that labels them. Every write may be repeated harmlessly."""

    def __init__(self, db: Database, clock: Clock) -> None:
        super().__init__(db, clock)
        self._ledger = Ledger(db, clock)

    def add_pairs(self, new: Sequence[Pair]) -> None:
        """Stores mirrored pairs, to be scored."""
        if not new:
            return
        rows = [
            {
                "id": pair.id,
                "deployment": pair.deployment,
                "rollout": pair.rollout,
                "request_id": pair.request_id,
                "time": pair.time,
                "body": pair.model_dump_json(),
                "done": False,
            }
            for pair in new
        ]
        with self._db.write() as conn:
            conn.execute(insert(conn, pairs).on_conflict_do_nothing(index_elements=[pairs.c.id]), rows)

    def unscored_pairs(self, limit: int) -> list[Pair]:
        """Pairs that are not done: those never looked at first, then those whose last look is longest ago.

        A pair that waits for its label therefore never keeps newer ones from being scored.
        """
        query = (
            sa.select(pairs.c.body)
            .where(pairs.c.done.is_(False))
            .order_by(pairs.c.looked_at.asc().nulls_first(), pairs.c.time, pairs.c.id)
            .limit(limit)
        )
        return self._pairs(query)

    def pairs(self, rollout: str) -> list[Pair]:
        """All pairs of a rollout, oldest first."""
        return self._pairs(sa.select(pairs.c.body).where(pairs.c.rollout == rollout).order_by(pairs.c.time, pairs.c.id))

    def add_scores(
        self, events: Sequence[PairEvent], done_pairs: Sequence[str], *, looked_at: Sequence[str] = ()
    ) -> int:
        """Stores scores and marks pairs as done, in one transaction with their ledger entries.

        A score is kept once per (rollout, pair, scorer). Only a missing score may be replaced later, by the one that
        a late label allows; a score that exists is never changed.

        Args:
            events: the scores.
            done_pairs: pairs that no scorer will look at again.
            looked_at: pairs that were looked at in vain; they go to the end of `unscored_pairs`.

        Returns:
            How many events were new or filled a missing score.
        """
        with self._db.write() as conn:
            new = [event for event in events if self._put(conn, event)]
            self._ledger.append_many([_fact(event) for event in new], conn=conn)
            now = self._clock.now()
            for ids, values in (
                (set(looked_at) | {event.pair for event in events}, {"looked_at": now}),
                (set(done_pairs), {"done": True}),
            ):
                for chunk in _chunks(sorted(ids)):
                    conn.execute(sa.update(pairs).where(pairs.c.id.in_(chunk)).values(values))
        return len(new)

    def pair_events(self, rollout: str) -> list[PairEvent]:
        """All scores of a rollout, in the order in which their pairs were mirrored."""
        columns = [column for column in pair_events.c if column.name != "recorded_at"]
        query = sa.select(*columns).where(pair_events.c.rollout == rollout)
        with self._db.read() as conn:
            rows = conn.execute(query.order_by(pair_events.c.time, pair_events.c.pair, pair_events.c.scorer))
            return [PairEvent.model_validate(dict(row)) for row in rows.mappings()]

    def add_windows(self, windows: Sequence[ArmWindow]) -> None:
        """Stores counts per (deployment, rollout, step, role, version, epoch, gateway, block).

        The counts of a block are those so far: written again, they replace what is there, so that a gateway may write
        an unfinished block and repeat a write whose answer it lost. A gateway's id is new with every process.
        """
        with self._db.write() as conn:
            for window in windows:
                row = {
                    "key": _window_key(window),
                    "deployment": window.deployment,
                    "rollout": window.rollout,
                    "block_start": window.block_start,
                    "body": window.model_dump_json(),
                }
                conn.execute(
                    insert(conn, arm_windows)
                    .values(row)
                    .on_conflict_do_update(index_elements=[arm_windows.c.key], set_={"body": row["body"]})
                )

    def windows(self, deployment: str, rollout: str | None = None, since: datetime | None = None) -> list[ArmWindow]:
        """The counts of a deployment, oldest block first; of one rollout when it is given."""
        query = sa.select(arm_windows.c.body).where(arm_windows.c.deployment == deployment)
        if rollout is not None:
            query = query.where(arm_windows.c.rollout == rollout)
        if since is not None:
            query = query.where(arm_windows.c.block_start >= since)
        with self._db.read() as conn:
            bodies = conn.execute(query.order_by(arm_windows.c.block_start, arm_windows.c.key)).scalars()
            return [ArmWindow.model_validate_json(body) for body in bodies]

    def _pairs(self, query: sa.Select[Any]) -> list[Pair]:
        with self._db.read() as conn:
            return [Pair.model_validate_json(body) for body in conn.execute(query).scalars()]

    def _put(self, conn: sa.Connection, event: PairEvent) -> bool:
        """Writes one event; True when it is new or filled a missing score."""
        values = {**event.model_dump(), "recorded_at": self._clock.now()}
        statement = insert(conn, pair_events).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=list(_EVENT_KEY),
            set_={
                name: sa.func.coalesce(pair_events.c[name], statement.excluded[name])
                for name in ("stable_score", "candidate_score")
            }
            | {"recorded_at": values["recorded_at"]},
            where=sa.or_(
                *(
                    sa.and_(pair_events.c[name].is_(None), statement.excluded[name].is_not(None))
                    for name in ("stable_score", "candidate_score")
                )
            ),
        )
        return conn.execute(statement).rowcount == 1


def _fact(event: PairEvent) -> Draft:
    payload = event.model_dump(mode="json", exclude={"rollout"})
    return Draft(kind="pair.scored", subject=event.pair, payload=payload, actor="scorer", rollout=event.rollout)


def _window_key(window: ArmWindow) -> str:
    parts = window.model_dump(
        mode="json", include={"deployment", "rollout", "step", "role", "version", "epoch", "gateway", "block_start"}
    )
    return digest_json(parts)


def _chunks(ids: list[str], size: int = 500) -> list[list[str]]:
    """Parts that stay below the databases' limits of bound parameters."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]
