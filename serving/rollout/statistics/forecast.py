"""How many pairs a plan needs: computed with the very tests that will judge it, before any traffic moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serving.rollout.statistics.betting import log_capital
from serving.rollout.statistics.boundary import NEVER, Boundary, fair_coin, spend_within

_PATHS = 400
_PATHS_AT_ONCE = 20
"""Bounds the memory: a path takes some 80 bytes a pair."""
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
    p = prospect.sound
    losses, wins = (p.discordant - p.difference) / 2, (p.discordant + p.difference) / 2
    random = np.random.default_rng(_SEED)
    first: list[int] = []
    for _ in range(0, _PATHS, _PATHS_AT_ONCE):
        draws = random.random((_PATHS_AT_ONCE, horizon))
        differences = np.where(draws < losses, -1.0, np.where(draws < losses + wins, 1.0, 0.0))
        passed = log_capital(differences, -margin) >= -math.log(alpha)
        first += np.where(passed.any(axis=1), passed.argmax(axis=1) + 1, _NEVER_PASSED).tolist()
    at = sorted(first)[math.ceil(power * len(first)) - 1]
    return None if at == _NEVER_PASSED else at


@lru_cache(maxsize=128)
def pairs_to_find_harm(prospect: Prospect, alpha: float, power: float, horizon: int) -> int | None:
    """Pairs by which the harm test crosses with probability `power`; None if the horizon does not suffice.

    Exact for discordant pairs that come evenly spaced: the boundary by dynamic programming under the null, then the
    crossing probability of the expected share of losses, by the same recursion.
    """
    p = prospect.sound
    loss_share = (p.discordant - p.difference) / 2 / p.discordant
    boundary = Boundary(alpha, spend_within(horizon))
    alive = np.ones(1)
    crossed = 0.0
    for j in range(1, int(horizon * p.discordant) + 1):
        position = math.ceil(j / p.discordant)
        threshold = boundary.step(*fair_coin((position,)))
        alive = np.convolve(alive, [1 - loss_share, loss_share])
        if threshold != NEVER:
            crossed += float(alive[threshold:].sum())
            alive = alive[:threshold]
        if crossed >= power:
            return position
    return None
