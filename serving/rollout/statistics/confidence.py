"""Estimates of a difference that may be read at any time: two-sided confidence sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serving.rollout.statistics.betting import PRIOR_SQUARE, Floats, log_capital
from serving.rollout.statistics.concurrent import Table

ESTIMATE_ALPHA = 0.05
"""Of every interval: it covers the difference at all looks together in 95% of experiments."""
MARK_SQUARE = 0.05
"""Prior guess of the squared difference of two marks of a few percent each; only the width depends on it."""
_COARSE = 0.05
_FINE = 0.0025
"""Steps of the search for an end of the interval; the end is rounded outwards to the finer one."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the mean difference lies: fractions in [-1, 1], candidate minus stable."""

    low: float
    high: float


def sequence(differences: Floats, alpha: float = ESTIMATE_ALPHA, *, prior_square: float = PRIOR_SQUARE) -> Interval:
    """The differences' mean, from all that was seen so far.

    A mean is excluded once a bettor against it has ever reached a capital of 2 / alpha, on either side (Waudby-Smith &
    Ramdas 2024, JRSS B 86(1):1-27, theorem 1). By Ville's inequality the true mean is excluded at any time with
    probability at most alpha, so the interval may be read at every look, and whoever stops when it looks good is not
    deceived. Needed is that each difference has the same mean given those before it.

    Args:
        differences: `(units,)` in [-1, 1], in order of arrival; units are independent.
        prior_square: guess of E[d^2]; only the width depends on it.
    """
    if not len(differences):
        return Interval(-1.0, 1.0)
    return Interval(_end(differences, alpha / 2, prior_square), -_end(-differences, alpha / 2, prior_square))


def _end(differences: Floats, alpha: float, prior_square: float) -> float:
    """The largest bound below which every mean is excluded, found from outside so that no gap is jumped over."""
    needed = -math.log(alpha)

    def excluded(bound: float) -> bool:
        return float(log_capital(differences, bound, prior_square=prior_square).max()) >= needed

    low = -1.0
    for step in (_COARSE, _FINE):
        while low + step < 1.0 and excluded(low + step):
            low += step
    return round(low, 6)


def of_strata(tables: Sequence[Table]) -> Floats:
    """`(units,)` differences of marks, candidate minus stable, of users set against each other within strata.

    A stratum whose smaller arm has k users gives k differences: in an order drawn by a seed that only depends on the
    stratum's number and size, each user of the smaller arm is set against an equal share of the other arm's. Users of a
    stratum are exchangeable, so every difference has the stratum's difference as its mean. Many small differences
    narrow an interval faster than few of whole strata, whose bettor must fear the worst of each.
    """
    found = [np.zeros(0)]
    for number, table in enumerate(tables):
        units = min(table.candidate, table.stable)
        if units:
            random = np.random.default_rng((number, table.candidate, table.stable))
            candidate = _dealt(random, table.candidate, table.candidate_marked, units)
            found.append(candidate - _dealt(random, table.stable, table.stable_marked, units))
    return np.concatenate(found)


def _dealt(random: np.random.Generator, users: int, marked: int, hands: int) -> Floats:
    """`(hands,)` shares of marked users when they are dealt to so many hands."""
    cards = np.zeros(users)
    cards[:marked] = 1.0
    random.shuffle(cards)
    starts = np.arange(hands) * users // hands
    shares: Floats = np.add.reduceat(cards, starts) / np.diff(np.append(starts, users))
    return shares


class _Memory:
    """The last estimate of one metric: a controller looks far more often than pairs arrive."""

    def __init__(self) -> None:
        self._seen: tuple[int, float, float] | None = None
        self._interval = Interval(-1.0, 1.0)

    def interval(self, differences: Floats, prior_square: float) -> Interval:
        seen = (len(differences), float(differences.sum()), float((differences * differences).sum()))
        if seen != self._seen:
            self._interval = sequence(differences, prior_square=prior_square)
            self._seen = seen
        return self._interval


def remembered(key: str, differences: Floats, prior_square: float = PRIOR_SQUARE) -> Interval:
    """`sequence` at 95%, computed again only when there is something new under the key."""
    return _memory(key).interval(differences, prior_square)


@lru_cache(maxsize=256)
def _memory(key: str) -> _Memory:
    return _Memory()
