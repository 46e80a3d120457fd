"""Experiments: how often an interval that may be read at any time excludes the true difference, and how wide it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from serving.rollout.statistics.concurrent import Table
from serving.rollout.statistics.confidence import MARK_SQUARE, Interval, of_strata, sequence
from tests.bench.rollouts.detection import graded, pairs
from tests.bench.rollouts.statistics import share

_USERS = 40
"""Users of both arms in a stratum."""


def marks(rng: np.random.Generator, strata: int, weight: float) -> Interval:
    """Failures of 5% against 1%, four points."""
    tables = []
    for _ in range(strata):
        mine = int(rng.binomial(_USERS, weight))
        failed = int(rng.binomial(mine, 0.05)), int(rng.binomial(_USERS - mine, 0.01))
        tables.append(Table(mine, failed[0], _USERS - mine, failed[1]))
    return sequence(of_strata(tables), prior_square=MARK_SQUARE)


ROWS: tuple[tuple[str, float, Callable[[np.random.Generator], Interval]], ...] = (
    ("paired, no difference, 16% discordant, 500 pairs", 0.0, lambda r: sequence(pairs(r, 500, 0.0, 0.16))),
    ("paired, 3 points better, 16% discordant, 1000 pairs", 0.03, lambda r: sequence(pairs(r, 1000, 0.03, 0.16))),
    ("graded, 0.10 lower, sd 0.25, 500 pairs", -0.10, lambda r: sequence(graded(r, 500, 0.10))),
    ("errors 1% → 5%, 50% of 4000 users", 0.04, lambda r: marks(r, 100, 0.5)),
    ("errors 1% → 5%, 10% of 4000 users", 0.04, lambda r: marks(r, 100, 0.1)),
)


def estimate_table(rng: np.random.Generator, n: int) -> Iterator[str]:
    yield "| experiment | true difference at any time outside (target at most 5%) | mean interval, points |"
    yield "|---|---|---|"
    for name, truth, one in ROWS:
        found = [one(rng) for _ in range(n)]
        outside = sum(not interval.low <= truth <= interval.high for interval in found)
        low, high = (100 * float(np.mean([getattr(i, end) for i in found])) for end in ("low", "high"))
        yield f"| {name} | {share(outside, n)} | {low:+.1f} to {high:+.1f} |"
