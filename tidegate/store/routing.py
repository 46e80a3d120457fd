"""Routing tables with monotone epochs, and the gateways' acknowledgements of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.domain.routing import RoutingTable
from tidegate.errors import Conflict
from tidegate.ledger import Ledger
from tidegate.store.leases import Fence, check_fence
from tidegate.store.tables import counters, routing, routing_acks

_CHANGES = "routing"
_REMOVED = ""


class RoutingStore:
    """One routing table per deployment."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._ledger = Ledger(db, clock)

    def publish(
        self,
        table: RoutingTable,
        *,
        actor: str = "controller",
        reason: str | None = None,
        decision: str | None = None,
        fence: Fence | None = None,
        conn: sa.Connection | None = None,
    ) -> None:
        """Puts a table in force, and into the ledger, at once.

        Args:
            table: its epoch must be above the one in force.
            actor: who publishes.
            reason: a sentence for people: why this table, now.
            decision: id of the ledger entry with the decision behind it.
            fence: the caller's lease; a stale holder is refused.
            conn: joins the caller's transaction.

        Raises:
            Conflict: an equal or higher epoch is in force, or the lease went to another.
        """
        body = table.model_dump_json()
        with self._db.write(conn) as own:
            check_fence(own, fence)
            statement = insert(own, routing).values(deployment=table.deployment, epoch=table.epoch, body=body)
            statement = statement.on_conflict_do_update(
                index_elements=[routing.c.deployment],
                set_={"epoch": table.epoch, "body": body},
                where=routing.c.epoch < table.epoch,
            )
            if own.execute(statement).rowcount != 1:
                in_force = own.execute(
                    sa.select(routing.c.epoch).where(routing.c.deployment == table.deployment)
                ).scalar_one()
                raise Conflict(
                    f"routing of {table.deployment!r} is at epoch {in_force}, epoch {table.epoch} comes too late",
                    next_step="Read the table in force and decide anew.",
                )
            _bump(own)
            self._ledger.append(
                "routing.published",
                table.deployment,
                {"table": json.loads(body), "reason": reason, "decision": decision},
                actor=actor,
                rollout=table.rollout,
                conn=own,
            )

    def get(self, deployment: str) -> RoutingTable | None:
        """The table in force, or None."""
        with self._db.read() as conn:
            query = sa.select(routing.c.body).where(routing.c.deployment == deployment)
            body = conn.execute(query).scalar_one_or_none()
        return RoutingTable.model_validate_json(body) if body else None

    def last_epoch(self, deployment: str) -> int:
        """The highest epoch that was ever published for the deployment, also before it was removed; 0 for none."""
        with self._db.read() as conn:
            query = sa.select(routing.c.epoch).where(routing.c.deployment == deployment)
            return int(conn.execute(query).scalar_one_or_none() or 0)

    def all(self) -> list[RoutingTable]:
        """The tables in force of all deployments, by name."""
        with self._db.read() as conn:
            bodies = conn.execute(sa.select(routing.c.body).order_by(routing.c.deployment)).scalars().all()
        return [RoutingTable.model_validate_json(body) for body in bodies if body]

    def remove(self, deployment: str, *, actor: str = "controller", fence: Fence | None = None) -> None:
        """Takes a deleted deployment out of service. Its epoch is kept: a later table has to exceed it."""
        with self._db.write() as conn:
            check_fence(conn, fence)
            conn.execute(sa.delete(routing_acks).where(routing_acks.c.deployment == deployment))
            in_force = sa.and_(routing.c.deployment == deployment, routing.c.body != _REMOVED)
            if conn.execute(sa.update(routing).where(in_force).values(body=_REMOVED)).rowcount:
                _bump(conn)
                self._ledger.append("routing.removed", deployment, {}, actor=actor, conn=conn)

    def change_token(self) -> int:
        """A number that changes whenever any table changes: one indexed row, cheap to poll."""
        with self._db.read() as conn:
            query = sa.select(counters.c.value).where(counters.c.name == _CHANGES)
            return int(conn.execute(query).scalar_one_or_none() or 0)

    def acknowledge(self, gateway: str, deployment: str, epoch: int) -> None:
        """A gateway says which epoch it routes by, at every poll: this is its sign of life, too."""
        now = self._clock.now()
        where = sa.and_(routing_acks.c.gateway == gateway, routing_acks.c.deployment == deployment)
        with self._db.write() as conn:
            before = conn.execute(sa.select(routing_acks.c.epoch).where(where)).scalar_one_or_none()
            statement = insert(conn, routing_acks).values(
                gateway=gateway, deployment=deployment, epoch=epoch, seen_at=now
            )
            conn.execute(
                statement.on_conflict_do_update(
                    index_elements=["gateway", "deployment"], set_={"epoch": epoch, "seen_at": now}
                )
            )
            if before != epoch:
                payload = {"gateway": gateway, "epoch": epoch}
                self._ledger.append("routing.acknowledged", deployment, payload, actor=f"gateway:{gateway}", conn=conn)

    def acknowledge_all(self, gateway: str, epochs: Mapping[str, int]) -> None:
        """`acknowledge` for every deployment that a gateway routes."""
        for deployment, epoch in epochs.items():
            self.acknowledge(gateway, deployment, epoch)

    def acks(self, deployment: str, fresh_seconds: float = 10.0) -> dict[str, int]:
        """The epoch of every gateway that was heard of within `fresh_seconds`."""
        since = self._clock.now() - timedelta(seconds=fresh_seconds)
        query = sa.select(routing_acks.c.gateway, routing_acks.c.epoch).where(
            routing_acks.c.deployment == deployment, routing_acks.c.seen_at >= since
        )
        with self._db.read() as conn:
            rows: list[Any] = list(conn.execute(query))
        return {str(row.gateway): int(row.epoch) for row in rows}

    def forget_gateway(self, gateway: str) -> None:
        """A gateway that stops cleanly is not waited for."""
        with self._db.write() as conn:
            conn.execute(sa.delete(routing_acks).where(routing_acks.c.gateway == gateway))


def _bump(conn: sa.Connection) -> None:
    statement = insert(conn, counters).values(name=_CHANGES, value=1)
    conn.execute(
        statement.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": counters.c.value + 1})
    )
