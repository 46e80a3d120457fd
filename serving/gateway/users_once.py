"""Which users of a rollout step have counted already: a user is one piece of evidence, however many requests are sent.

A gateway remembers its own users only. One that starts again, or a user whom several gateways serve, counts again: a
user then counts as often as there were gateways, never as often as there were requests.
"""

from __future__ import annotations

from tidegate.domain.routing import RoutingTable

MOST_USERS = 200_000
"""Remembered per step, some 40 MB; further users are not counted, since they could not be told from known ones."""


_ALL = 100.0
"""Percent of users: with all of them on the candidate a failure says nothing about the arms."""


class UsersOnce:
    """The users of one deployment's running step."""

    def __init__(self) -> None:
        self._rollout: str | None = None
        self._epoch = -1
        self._weight = 0.0
        self._weight_before = 0.0
        self._seen: set[str] = set()
        self._answered: set[str] = set()
        self._failed: set[str] = set()

    def first(self, table: RoutingTable, user: str, place: float) -> bool:
        """Whether this is the user's first request in the step."""
        return self._counts(table, place) and _once(self._seen, user)

    def first_answer(self, table: RoutingTable, user: str, place: float) -> bool:
        """Whether this is the user's first good answer in the step."""
        return self._counts(table, place) and _once(self._answered, user)

    def first_failure(self, table: RoutingTable, user: str, place: float) -> bool:
        """Whether this is the user's first failure in a step that has users on both arms."""
        return self._counts(table, place) and self._weight < _ALL and _once(self._failed, user)

    def _counts(self, table: RoutingTable, place: float) -> bool:
        """Whether a user at this place is one whom the step may move; a late answer of the step before is not."""
        if table.rollout is None or table.epoch < self._epoch:
            return False
        self._follow(table)
        return self._weight > 0 and place >= self._weight_before

    def _follow(self, table: RoutingTable) -> None:
        """A step with another weight is a new toss for the users it may move: all of them count afresh."""
        self._epoch = table.epoch
        candidate = table.arm("candidate")
        weight = candidate.weight if candidate is not None else 0.0
        if table.rollout == self._rollout and weight == self._weight:
            return
        self._weight_before = self._weight if table.rollout == self._rollout else 0.0
        self._weight, self._rollout = weight, table.rollout
        self._seen, self._answered, self._failed = set(), set(), set()


def _once(known: set[str], user: str) -> bool:
    if user in known or len(known) >= MOST_USERS:
        return False
    known.add(user)
    return True
