"""How many pairs a plan needs: computed with the very tests that will judge it, before any traffic moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from serving.rollout.statistics.betting import log_capital
from serving.rollout.statistics.boundary import NEVER, Boundary, fair_coin, spend_within

_PATHS = 4000
_LONG_PATHS = 500
"""… when the paths are long: their relative spread is smaller."""
_LONG = 8192
_FIRST_HORIZON = 512
_ELEMENTS_AT_ONCE = 1 << 17
"""Bounds the memory: a pair of a path takes some 80 bytes."""
_SEQUENCES = 64
_TOSSES = 200_000
"""Bounds the work of the exact forecast: discordant pairs over all sequences."""
_SURE = 1.645
"""Normal quantile: the forecast suffices with the wanted power with 95% confidence, its own noise included."""
_NEVER_PASSED = int(np.iinfo(np.int64).max)
_SEED = 20260101
_LEAST_DISCORDANT = 0.01
"""Smallest share of discordant pairs to plan with: nobody knows a rate to be zero."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What the plan expects of the candidate, from its offline comparison with the stable version.

    Attributes:
        difference: expected candidate minus stable score (fraction); 0 for "equal".
        discordant: expected share of pairs on which only one version is right.
    """

    difference: float
    discordant: float

    def equal(self) -> Prospect:
        """The same share of discordant pairs, but no difference."""
        return Prospect(0.0, self.discordant)

    @property
    def sound(self) -> Prospect:
        """Clipped to what a difference of two binary scores can be."""
        discordant = min(1.0, max(self.discordant, abs(self.difference), _LEAST_DISCORDANT))
        return Prospect(max(-discordant, min(discordant, self.difference)), discordant)


@lru_cache(maxsize=128)
def pairs_to_promote(prospect: Prospect, margin: float, alpha: float, power: float, horizon: int) -> int | None:
    """Pairs by which the non-inferiority test passes with probability `power`; None if the horizon does not suffice.

    By simulation of the test itself on seeded paths, so that the forecast is the test's and not a formula's.
    """
    reach = min(_FIRST_HORIZON, horizon)
    while True:
        paths = _PATHS if reach <= _LONG else _LONG_PATHS
        rank = math.ceil(power * paths + _SURE * math.sqrt(paths * power * (1 - power)))
        first = np.sort(_first_passed(prospect.sound, margin, alpha, paths, reach))
        at = int(first[min(rank, paths) - 1])
        if at != _NEVER_PASSED:
            return at
        if reach == horizon:
            return None
        reach = min(2 * reach, horizon)


def _first_passed(p: Prospect, margin: float, alpha: float, paths: int, reach: int) -> NDArray[np.int64]:
    """`(paths,)` pairs at which the test passes on seeded paths; `_NEVER_PASSED` for those that do not within reach."""
    losses, wins = (p.discordant - p.difference) / 2, (p.discordant + p.difference) / 2
    random = np.random.default_rng(_SEED)
    found: list[NDArray[np.int64]] = []
    at_once = max(1, _ELEMENTS_AT_ONCE // reach)
    for start in range(0, paths, at_once):
        draws = random.random((min(at_once, paths - start), reach))
        differences = np.where(draws < losses, -1.0, np.where(draws < losses + wins, 1.0, 0.0))
        passed = log_capital(differences, -margin) >= -math.log(alpha)
        found.append(np.where(passed.any(axis=1), passed.argmax(axis=1) + 1, _NEVER_PASSED))
    return np.concatenate(found)


@lru_cache(maxsize=128)
def pairs_to_find_harm(prospect: Prospect, alpha: float, power: float, horizon: int) -> int | None:
    """Pairs by which the harm test crosses with probability `power`; None if the horizon does not suffice.

    For seeded sequences of discordant pairs the boundary is computed under the null by dynamic programming, then the
    crossing probability of the expected share of losses by the same recursion; the answer is for their average.
    """
    p = prospect.sound
    loss_share = (p.discordant - p.difference) / 2 / p.discordant
    sequences = int(max(4, min(_SEQUENCES, _TOSSES / (horizon * p.discordant))))
    random = np.random.default_rng(_SEED)
    runs = [_Run(Boundary(alpha, spend_within(horizon)), loss_share) for _ in range(sequences)]
    for pair in range(1, horizon + 1):
        for run, differs in zip(runs, random.random(sequences) < p.discordant, strict=True):
            if differs:
                run.toss(pair)
        if sum(run.crossed for run in runs) >= power * sequences:
            return pair
    return None


class _Run:
    """One sequence of discordant pairs: how probable it is that the test has crossed."""

    def __init__(self, boundary: Boundary, loss_share: float) -> None:
        self.crossed = 0.0
        self._boundary = boundary
        self._increment = np.array([1 - loss_share, loss_share])
        self._alive = np.ones(1)

    def toss(self, pair: int) -> None:
        threshold = self._boundary.step(*fair_coin((pair,)))
        self._alive = np.convolve(self._alive, self._increment)
        if threshold != NEVER:
            self.crossed += float(self._alive[threshold:].sum())
            self._alive = self._alive[:threshold]
