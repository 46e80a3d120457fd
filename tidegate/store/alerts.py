"""Alert deliveries, stored durably before they are answered, and the alerts in them, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.domain.base import Contract, UtcTime
from tidegate.domain.drift import Alert
from tidegate.ledger import Draft, Ledger
from tidegate.store.tables import alerts, deliveries


class Delivery(Contract):
    """One HTTP request with alerts, as it came."""

    id: str = Field(description="the sender's delivery id when it has one (webhook-id), else a new id")
    source: str = Field(description="'alertmanager'")
    received_at: UtcTime
    body: str = Field(description="the request's body, unchanged")


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery and what was in it."""

    delivery: Delivery
    alerts: int
    new_alerts: int


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert and what was decided about it; `outcome` is None until somebody has."""

    alert: Alert
    delivery: str
    received_at: UtcTime
    outcome: str | None


class AlertStore:
    """Deliveries and alerts."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._ledger = Ledger(db, clock)

    def record(self, delivery: Delivery, found: Sequence[Alert]) -> list[Alert]:
        """Stores a delivery with its alerts; when this returns, a crash loses nothing.

        Returns:
            The alerts that were not known before (by `Alert.dedup_key`).
        """
        with self._db.write() as conn:
            row = {**delivery.model_dump(), "alerts": len(found), "new_alerts": 0}
            first = insert(conn, deliveries).values(row).on_conflict_do_nothing(index_elements=[deliveries.c.id])
            conn.execute(first)
            new = [alert for alert in found if self._put(conn, delivery, alert)]
            if new:
                change = sa.update(deliveries).where(deliveries.c.id == delivery.id)
                conn.execute(change.values(new_alerts=deliveries.c.new_alerts + len(new)))
            self._ledger.append_many([_fact(alert, delivery) for alert in new], conn=conn)
        return new

    def pending(self, limit: int = 100) -> list[Alert]:
        """Alerts that nobody has decided about, oldest first: what a dispatcher takes up after a crash, too."""
        query = (
            sa.select(alerts.c.body)
            .where(alerts.c.outcome.is_(None))
            .order_by(alerts.c.received_at, alerts.c.dedup_key)
        )
        with self._db.read() as conn:
            return [Alert.model_validate_json(body) for body in conn.execute(query.limit(limit)).scalars()]

    def known(self, dedup_key: str) -> bool:
        """Whether an alert of this key was ever stored."""
        query = sa.select(alerts.c.dedup_key).where(alerts.c.dedup_key == dedup_key)
        with self._db.read() as conn:
            return conn.execute(query).first() is not None

    def settle(self, dedup_key: str, outcome: str, *, conn: sa.Connection | None = None) -> bool:
        """Writes what was decided about an alert, once; False when that had been done before."""
        undecided = sa.and_(alerts.c.dedup_key == dedup_key, alerts.c.outcome.is_(None))
        with self._db.write(conn) as own:
            return own.execute(sa.update(alerts).where(undecided).values(outcome=outcome)).rowcount == 1

    def deliveries(self, limit: int = 100) -> list[StoredDelivery]:
        """The newest deliveries, newest first."""
        query = sa.select(deliveries).order_by(deliveries.c.received_at.desc(), deliveries.c.id.desc()).limit(limit)
        with self._db.read() as conn:
            return [_stored_delivery(row) for row in conn.execute(query)]

    def alerts(self, limit: int = 100) -> list[StoredAlert]:
        """The newest alerts, newest first."""
        query = sa.select(alerts).order_by(alerts.c.received_at.desc(), alerts.c.dedup_key).limit(limit)
        with self._db.read() as conn:
            return [_stored_alert(row) for row in conn.execute(query)]

    def _put(self, conn: sa.Connection, delivery: Delivery, alert: Alert) -> bool:
        row = {
            "dedup_key": alert.dedup_key,
            "delivery": delivery.id,
            "received_at": delivery.received_at,
            "body": alert.model_dump_json(),
        }
        statement = insert(conn, alerts).values(row).on_conflict_do_nothing(index_elements=[alerts.c.dedup_key])
        return conn.execute(statement).rowcount == 1


def _fact(alert: Alert, delivery: Delivery) -> Draft:
    payload = {"alert": alert.model_dump(mode="json"), "delivery": delivery.id, "dedup_key": alert.dedup_key}
    return Draft(
        kind="alert.received", subject=alert.model or alert.name, payload=payload, actor=f"receiver:{alert.source}"
    )


def _stored_delivery(row: sa.Row[Any]) -> StoredDelivery:
    delivery = Delivery(id=row.id, source=row.source, received_at=row.received_at, body=row.body)
    return StoredDelivery(delivery=delivery, alerts=row.alerts, new_alerts=row.new_alerts)


def _stored_alert(row: sa.Row[Any]) -> StoredAlert:
    alert = Alert.model_validate_json(row.body)
    return StoredAlert(alert=alert, delivery=row.delivery, received_at=row.received_at, outcome=row.outcome)
