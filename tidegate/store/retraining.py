"""Retraining requests: a key once, and at most one active request per model, whoever asks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.domain.drift import RetrainRequest, RetrainStatus
from tidegate.errors import Conflict, NotFound
from tidegate.ledger import Ledger
from tidegate.store.leases import Fence, check_fence
from tidegate.store.tables import retraining

_ACTIVE = ("pending", "running")
_ENDED = ("succeeded", "failed")


class RetrainStore:
    """Retraining requests by key."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._ledger = Ledger(db, clock)

    def create(
        self, request: RetrainRequest, *, actor: str = "dispatcher", conn: sa.Connection | None = None
    ) -> tuple[RetrainRequest, bool]:
        """Creates a request unless its key exists or, for an active one, its model has an active request.

        Returns:
            The new request and True; or the one in its way and False.
        """
        row = {
            "key": request.key,
            "model": request.model,
            "status": request.status,
            "created_at": request.created_at,
            "updated_at": request.updated_at,
            "body": request.model_dump_json(),
        }
        with self._db.write(conn) as own:
            # Without a target, ON CONFLICT covers both the key and the partial index of active requests.
            if own.execute(insert(own, retraining).values(row).on_conflict_do_nothing()).rowcount == 1:
                payload = request.model_dump(mode="json")
                self._ledger.append("retrain.requested", request.key, payload, actor=actor, conn=own)
                return request, True
            in_the_way = sa.or_(
                retraining.c.key == request.key,
                sa.and_(retraining.c.model == request.model, retraining.c.status.in_(_ACTIVE)),
            )
            same_key_first = sa.case((retraining.c.key == request.key, 0), else_=1)
            body = (
                own.execute(sa.select(retraining.c.body).where(in_the_way).order_by(same_key_first)).scalars().first()
            )
        if body is None:  # the active one ended between the two statements (PostgreSQL)
            return self.create(request, actor=actor, conn=conn)
        return RetrainRequest.model_validate_json(body), False

    def get(self, key: str) -> RetrainRequest | None:
        """The request, or None."""
        with self._db.read() as conn:
            body = conn.execute(sa.select(retraining.c.body).where(retraining.c.key == key)).scalar_one_or_none()
        return None if body is None else RetrainRequest.model_validate_json(body)

    def list(self, model: str | None = None, status: RetrainStatus | None = None) -> list[RetrainRequest]:
        """Requests, oldest first."""
        query = sa.select(retraining.c.body)
        if model is not None:
            query = query.where(retraining.c.model == model)
        if status is not None:
            query = query.where(retraining.c.status == status)
        with self._db.read() as conn:
            bodies = conn.execute(query.order_by(retraining.c.created_at, retraining.c.key)).scalars()
            return [RetrainRequest.model_validate_json(body) for body in bodies]

    def update(  # noqa: PLR0913 - what may change, and what guards it
        self,
        key: str,
        status: RetrainStatus,
        reason: str | None = None,
        run: str | None = None,
        *,
        attempts: int | None = None,
        actor: str = "dispatcher",
        was: RetrainStatus | None = None,
        fence: Fence | None = None,
        conn: sa.Connection | None = None,
    ) -> RetrainRequest:
        """Moves a request on; fields that are None stay as they are.

        Args:
            was: what it must be until now.
            fence: of the dispatcher's lease.

        Raises:
            NotFound: there is no such request.
            Conflict: it would become active beside another active request of its model, it is not what it `was`, or
                the fence is of the past.
        """
        with self._db.write(conn) as own:
            check_fence(own, fence)
            where = retraining.c.key == key
            body = own.execute(sa.select(retraining.c.body).where(where).with_for_update()).scalar_one_or_none()
            if body is None:
                raise NotFound(
                    f"retraining request {key!r} does not exist",
                    next_step="List them with 'tidegate alerts retrainings'.",
                )
            before = RetrainRequest.model_validate_json(body)
            if was not in (None, before.status):
                raise Conflict(
                    f"retraining request {key!r} is {before.status}, not {was}", next_step="Read it again and decide."
                )
            changed: dict[str, Any] = {"status_reason": reason, "run": run, "attempts": attempts}
            changes = {name: value for name, value in changed.items() if value is not None}
            after = before.model_copy(update={**changes, "status": status, "updated_at": self._clock.now()})
            if status in _ACTIVE and before.status not in _ACTIVE:
                _refuse_second(own, after)
            own.execute(
                sa.update(retraining)
                .where(where)
                .values(status=status, updated_at=after.updated_at, body=after.model_dump_json())
            )
            payload = {"status": status, "reason": after.status_reason, "run": after.run, "attempts": after.attempts}
            self._ledger.append("retrain.status", key, {**payload, "model": after.model}, actor=actor, conn=own)
        return after

    def active(self, model: str) -> RetrainRequest | None:
        """The pending or running request of a model, or None."""
        return self._newest(model, _ACTIVE)

    def last_finished(self, model: str) -> RetrainRequest | None:
        """The model's request that succeeded or failed last; its `updated_at` starts the cooldown."""
        return self._newest(model, _ENDED)

    def _newest(self, model: str, statuses: tuple[str, ...]) -> RetrainRequest | None:
        query = sa.select(retraining.c.body).where(retraining.c.model == model, retraining.c.status.in_(statuses))
        with self._db.read() as conn:
            body = conn.execute(query.order_by(retraining.c.updated_at.desc()).limit(1)).scalars().first()
        return None if body is None else RetrainRequest.model_validate_json(body)


def _refuse_second(conn: sa.Connection, request: RetrainRequest) -> None:

    other = (
        conn.execute(
            sa.select(retraining.c.key).where(retraining.c.model == request.model, retraining.c.status.in_(_ACTIVE))
        )
        .scalars()
        .first()
    )
    if other is not None:
        raise Conflict(
            f"model {request.model!r} has the active retraining {other!r}, {request.key!r} cannot become active",
            next_step="Wait until it has ended.",
        )
