"""A rollout's scores in the order of their arrival, a few at a time: what a judge that looks twice a second reads."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from tidegate.db import Database
from tidegate.domain.evidence import PairEvent
from tidegate.store.tables import pair_events


def scorers_seen(db: Database) -> frozenset[str]:
    """Names of the scorers that have ever scored a stable version's answer."""
    query = sa.select(pair_events.c.scorer).where(pair_events.c.stable_score.is_not(None)).distinct()
    with db.read() as conn:
        return frozenset(conn.execute(query).scalars())


def scores_since(db: Database, rollout: str, since: datetime | None) -> tuple[list[PairEvent], datetime | None]:
    """Scores that were recorded at or after a time, in the order in which they were recorded.

    A sequential test looks at evidence in the order in which it becomes known; the order of the requests would let a
    late label change the past.

    Returns:
        The scores, and the time of the newest: ask again with it, and expect to see the newest ones again.
    """
    query = sa.select(pair_events).where(pair_events.c.rollout == rollout)
    if since is not None:
        query = query.where(pair_events.c.recorded_at >= since)
    query = query.order_by(pair_events.c.recorded_at, pair_events.c.pair, pair_events.c.scorer)
    with db.read() as conn:
        rows = list(conn.execute(query).mappings())
    events = [
        PairEvent.model_validate({key: value for key, value in row.items() if key != "recorded_at"}) for row in rows
    ]
    return events, rows[-1]["recorded_at"] if rows else since
