"""Leases with fencing epochs: one holder at a time, and a holder of the past is refused by what it tries to write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.errors import Conflict
from tidegate.store.tables import leases

SCORER_LEASE = "pair-scorer"
"""Held by the scorer at work; the controller sees by it whether pairs are scored."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of a lease that goes with a write: the write is refused unless this epoch is the newest."""

    name: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease. `held` is False once it has expired or was released."""

    name: str
    holder: str
    epoch: int
    held: bool
    expires_at: datetime


_RENEW_BELOW = 0.5
"""A lease with less than this share of its time left is written anew."""


class LeaseStore:
    """Leases by name. The epoch grows with every change of holder and never falls, also over a release."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def acquire(self, name: str, holder: str, ttl_seconds: float) -> int | None:
        """Takes a lease that is free, expired or already the holder's.

        Returns:
            The fencing epoch, or None while another holds the lease.
        """
        now = self._clock.now()
        mine = self._still_mine(name, holder, ttl_seconds)
        if mine is not None:
            return mine
        until = now + timedelta(seconds=ttl_seconds)
        with self._db.write() as conn:
            first = insert(conn, leases).values(name=name, holder=holder, epoch=1, expires_at=until)
            if conn.execute(first.on_conflict_do_nothing(index_elements=[leases.c.name])).rowcount == 1:
                return 1
            row = conn.execute(sa.select(leases).where(leases.c.name == name).with_for_update()).one()
            held = row.expires_at > now
            if held and row.holder != holder:
                return None
            epoch = int(row.epoch) if held else int(row.epoch) + 1
            change = sa.update(leases).where(leases.c.name == name)
            conn.execute(change.values(holder=holder, epoch=epoch, expires_at=until))
            return epoch

    def renew(self, name: str, holder: str, epoch: int, ttl: float) -> bool:
        """Extends a lease that still is the holder's; False when it expired or went to another."""
        if self._still_mine(name, holder, ttl) == epoch:
            return True
        now = self._clock.now()
        mine = sa.and_(
            leases.c.name == name, leases.c.holder == holder, leases.c.epoch == epoch, leases.c.expires_at > now
        )
        with self._db.write() as conn:
            change = sa.update(leases).where(mine).values(expires_at=now + timedelta(seconds=ttl))
            return conn.execute(change).rowcount == 1

    def _still_mine(self, name: str, holder: str, ttl_seconds: float) -> int | None:
        """The epoch of a lease that is the holder's for more than half of the time to live; else None.

        Holders ask at every tick; writing each time would cost a synchronous write to disk several times a second.
        """
        enough = self._clock.now() + timedelta(seconds=ttl_seconds * _RENEW_BELOW)
        query = sa.select(leases.c.epoch).where(
            leases.c.name == name, leases.c.holder == holder, leases.c.expires_at > enough
        )
        with self._db.read() as conn:
            epoch = conn.execute(query).scalar_one_or_none()
        return None if epoch is None else int(epoch)

    def release(self, name: str, holder: str, epoch: int) -> None:
        """Gives a lease back; nothing happens when it is no longer the holder's."""
        mine = sa.and_(leases.c.name == name, leases.c.holder == holder, leases.c.epoch == epoch)
        with self._db.write() as conn:
            conn.execute(sa.update(leases).where(mine).values(expires_at=self._clock.now()))

    def get(self, name: str) -> Lease | None:
        """Who holds it, or held it last."""
        with self._db.read() as conn:
            row = conn.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()
        if row is None:
            return None
        held = row.expires_at > self._clock.now()
        return Lease(name=name, holder=row.holder, epoch=int(row.epoch), held=held, expires_at=row.expires_at)


def check_fence(conn: sa.Connection, fence: Fence | None) -> None:
    """Refuses a write of a holder of the past.

    The newest epoch counts, not the expiry: a lease that nobody took since still fences correctly, and no two clocks
    have to agree.

    Raises:
        Conflict: the lease has a newer epoch.
    """
    if fence is None:
        return
    current = conn.execute(
        sa.select(leases.c.epoch).where(leases.c.name == fence.name).with_for_update(read=True)
    ).scalar_one_or_none()
    if current != fence.epoch:
        raise Conflict(
            f"lease {fence.name!r} is at epoch {current}, the write came from epoch {fence.epoch}",
            next_step="Stop writing and acquire the lease again.",
        )
