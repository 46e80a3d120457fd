"""What people ask of rollouts: a queue that the controller answers. On a cluster RolloutAction objects do the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.errors import InvalidInput
from tidegate.ids import new_id
from tidegate.store.tables import rollout_actions

ActionName = Literal["approve", "promote", "abort", "pause", "resume"]
ACTION_NAMES: tuple[str, ...] = get_args(ActionName)


@dataclass(frozen=True, slots=True)
class SubmittedAction:
    """A person's request.

    `answer` is the controller's sentence, None while it has not answered. `rollout` names the attempt that is meant,
    where whoever asked said so.
    """

    id: str
    deployment: str
    action: ActionName
    by: str
    reason: str
    time: datetime
    answer: str | None = None
    rollout: str | None = None


def printable(text: str) -> str:
    """Without control characters: what somebody writes as a reason is shown on other people's terminals."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


class ActionStore:
    """Requests by deployment, in the order in which they were made."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def submit(
        self, deployment: str, action: str, by: str, reason: str = "", rollout: str | None = None
    ) -> SubmittedAction:
        """Puts a request into the queue; a later attempt than `rollout` will refuse it.

        Raises:
            InvalidInput: no such action.
        """
        if action not in ACTION_NAMES:
            raise InvalidInput(f"action {action!r} is unknown", next_step=f"Use one of {', '.join(ACTION_NAMES)}.")
        made = SubmittedAction(
            new_id(), deployment, cast(ActionName, action), by, printable(reason), self._clock.now(), rollout=rollout
        )
        with self._db.write() as conn:
            conn.execute(sa.insert(rollout_actions).values(asdict(made)))
        return made

    def pending(self, deployment: str) -> list[SubmittedAction]:
        """Requests that are not answered, oldest first."""
        query = sa.select(rollout_actions).where(
            rollout_actions.c.deployment == deployment, rollout_actions.c.answer.is_(None)
        )
        with self._db.read() as conn:
            return [_submitted(row) for row in conn.execute(query.order_by(rollout_actions.c.id))]

    def get(self, action: str) -> SubmittedAction | None:
        """A request with its answer."""
        with self._db.read() as conn:
            row = conn.execute(sa.select(rollout_actions).where(rollout_actions.c.id == action)).one_or_none()
        return None if row is None else _submitted(row)

    def done(self, action: str, answer: str, *, conn: sa.Connection | None = None) -> None:
        """Records the answer; a request that is answered already keeps its first answer."""
        open_one = sa.and_(rollout_actions.c.id == action, rollout_actions.c.answer.is_(None))
        with self._db.write(conn) as own:
            own.execute(sa.update(rollout_actions).where(open_one).values(answer=answer))


def _submitted(row: sa.Row[Any]) -> SubmittedAction:
    return SubmittedAction(row.id, row.deployment, row.action, row.by, row.reason, row.time, row.answer, row.rollout)
