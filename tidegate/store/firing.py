"""Start times of the platform's own alerts while they fire, shared by whoever notices the trouble."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from tidegate.db import Database, insert
from tidegate.store.tables import firing_alerts


class FiringStore:
    """One row for each alert that fires, by fingerprint; a pod that notices one may have nothing but the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def since(self, fingerprint: str, now: datetime) -> datetime:
        """When the alert began to fire: now, unless it fires already. Of several callers at once one is the first."""
        with self._db.write() as conn:
            first = insert(conn, firing_alerts).values(fingerprint=fingerprint, since=now)
            # An update that changes nothing: the row is answered even when it was there, with no gap for a resolve.
            kept = first.on_conflict_do_update(
                index_elements=[firing_alerts.c.fingerprint], set_={"since": firing_alerts.c.since}
            )
            began: datetime = conn.execute(kept.returning(firing_alerts.c.since)).scalar_one()
            return began

    def peek(self, fingerprint: str) -> datetime | None:
        """When the alert began to fire; None when it does not."""
        query = sa.select(firing_alerts.c.since).where(firing_alerts.c.fingerprint == fingerprint)
        with self._db.read() as conn:
            return conn.execute(query).scalar_one_or_none()

    def resolve(self, fingerprint: str, since: datetime) -> bool:
        """Forgets an alert that fires since that time; False when another has, or it fires anew."""
        mine = sa.and_(firing_alerts.c.fingerprint == fingerprint, firing_alerts.c.since == since)
        with self._db.write() as conn:
            return conn.execute(sa.delete(firing_alerts).where(mine)).rowcount == 1
