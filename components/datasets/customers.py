"""The synthetic population of customers: ids, and columns invented for data that has no group or time.

Everything here is a function of a seed and of positions or ids, never of a label or a text: what is invented cannot
carry information about the answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)  # invented histories start here; a constant keeps digests reproducible
DEFAULT_WEEKS = 6
ROWS_PER_CUSTOMER = 2.0  # mean; customers write a few messages about one matter, then are quiet
SESSION = timedelta(days=2)


def customer_id(number: int) -> str:
    """The id of the n-th customer of the population, from 0: `cust-00042`."""
    return f"cust-{number:05d}"


def invent_groups(count: int, seed: int, population: int | None = None) -> list[str]:
    """A customer for each of `count` rows, uniform over the population and independent of the rows' order.

    Files are often sorted by label; neighbours must not share a customer for that reason, so every row draws afresh.
    """
    rng = random.Random(f"groups/{seed}")  # noqa: S311 - reproducible, not secret
    size = population or max(1, round(count / ROWS_PER_CUSTOMER))
    return [customer_id(rng.randrange(size)) for _ in range(count)]


def invent_times(
    groups: Sequence[str], seed: int, start: datetime = EPOCH, weeks: float = DEFAULT_WEEKS
) -> list[datetime]:
    """An event time for each row: each group has one session of two days at a uniform moment of the weeks.

    A session is what lets a split by group and by time keep nearly every row: see `components.prepare.split`.
    """
    rng = random.Random(f"times/{seed}")  # noqa: S311
    span = timedelta(weeks=weeks)
    sessions = {group: start + rng.random() * span for group in dict.fromkeys(groups)}
    return [(sessions[group] + rng.random() * SESSION).replace(microsecond=0) for group in groups]
