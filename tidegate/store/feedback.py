"""Feedback: labels and ratings by request id, and which requests were served at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.domain.evidence import Feedback
from tidegate.store.tables import feedback, pairs, requests

_CHUNK = 500  # bound parameters per statement


class FeedbackStore:
    """Feedback of applications. A label joins both arms of a pair; a rating belongs to the shown answer alone."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def add_feedback(self, new: Sequence[Feedback]) -> None:
        """Stores feedback; an id that is there already changes nothing."""
        if not new:
            return
        with self._db.write() as conn:
            statement = insert(conn, feedback).on_conflict_do_nothing(index_elements=[feedback.c.id])
            conn.execute(statement, [item.model_dump() for item in new])

    def labels(self, request_ids: Sequence[str]) -> dict[str, str]:
        """The label of each request that has one; of several, the first: a later one must not rewrite evidence."""
        found: dict[str, str] = {}
        with self._db.read() as conn:
            for start in range(0, len(request_ids), _CHUNK):
                query = (
                    sa.select(feedback.c.request_id, feedback.c.value)
                    .where(feedback.c.request_id.in_(request_ids[start : start + _CHUNK]), feedback.c.kind == "label")
                    .order_by(feedback.c.time, feedback.c.id)
                )
                for request_id, value in conn.execute(query):
                    found.setdefault(request_id, value)
        return found

    def labelled_since(self, deployment: str, since: datetime) -> set[str]:
        """Requests of a deployment whose first label came since a moment, whenever they were served."""
        earlier = feedback.alias()
        query = sa.select(feedback.c.request_id).where(
            feedback.c.deployment == deployment,
            feedback.c.time >= since,
            feedback.c.kind == "label",
            ~sa.exists().where(
                earlier.c.request_id == feedback.c.request_id, earlier.c.kind == "label", earlier.c.time < since
            ),
        )
        with self._db.read() as conn:
            return set(conn.execute(query).scalars())

    def feedback(self, deployment: str, since: datetime | None = None, limit: int | None = None) -> list[Feedback]:
        """Feedback of a deployment, oldest first; with `limit`, the newest so many."""
        query = sa.select(feedback).where(feedback.c.deployment == deployment)
        if since is not None:
            query = query.where(feedback.c.time >= since)
        query = query.order_by(feedback.c.time.desc(), feedback.c.id.desc()).limit(limit)
        with self._db.read() as conn:
            return [Feedback.model_validate(dict(row)) for row in conn.execute(query).mappings()][::-1]

    def note_requests(self, deployment: str, served: Mapping[str, datetime]) -> None:
        """Remembers request ids with their times, so that feedback on an unknown request can be refused."""
        if not served:
            return
        rows = [{"request_id": key, "deployment": deployment, "time": time} for key, time in served.items()]
        with self._db.write() as conn:
            conn.execute(insert(conn, requests).on_conflict_do_nothing(index_elements=[requests.c.request_id]), rows)

    def request_exists(self, request_id: str) -> bool:
        """Whether the request was served (as noted by a gateway, or as one side of a pair)."""
        with self._db.read() as conn:
            query = sa.union_all(
                sa.select(requests.c.request_id).where(requests.c.request_id == request_id),
                sa.select(pairs.c.request_id).where(pairs.c.request_id == request_id),
            ).limit(1)
            return conn.execute(query).first() is not None

    def forget_requests(self, before: datetime) -> int:
        """Drops noted request ids that are older; returns how many."""
        with self._db.write() as conn:
            return conn.execute(sa.delete(requests).where(requests.c.time < before)).rowcount
