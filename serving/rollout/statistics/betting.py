"""Betting e-processes for the mean of paired differences (Waudby-Smith & Ramdas 2024, JRSS B 86(1):1-27).

A bettor starts with capital 1 and stakes a share of it, chosen before each pair, on the differences being above a
bound. If the bound is not exceeded on average, the capital is a non-negative supermartingale, and by Ville's inequality
it ever reaches 1/alpha with probability at most alpha, whatever the stopping rule and whatever the distribution.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PRIOR_PAIRS = 12.0
"""Weight of the prior guess of the second moment, in pairs."""
PRIOR_SQUARE = 0.25
"""Prior guess of E[d^2]: a quarter of the pairs discordant. Only power depends on it, never validity."""
_MAX_STAKE = 0.75
"""Largest share of the capital that one worst-case pair may take."""


def log_capital(differences: Floats, bound: float, *, prior_square: float = PRIOR_SQUARE) -> Floats:
    """Log capital against the null hypothesis `E[d | past] <= bound`, along the last axis.

    The mean of two bettors: one expects differences around zero and learns only their spread (its growth is
    near-optimal for a version that equals the stable one), the other learns their mean as well (fast for a version
    that is much better). An average of capitals is a capital.

    Args:
        differences: `(..., pairs)` values in [-1, 1], in order of arrival.
        bound: in (-1, 1); -0.02 asks "is the candidate less than 2 points worse?".
        prior_square: guess of E[d^2] before the first pair.

    Returns:
        `(..., pairs)` log capital after each pair.
    """
    d = np.asarray(differences, dtype=np.float64)
    seen = np.arange(d.shape[-1], dtype=np.float64)
    square = (_before(d * d) + _PRIOR_PAIRS * prior_square) / (seen + _PRIOR_PAIRS)
    mean = _before(d) / (seen + _PRIOR_PAIRS)
    largest = _MAX_STAKE / (1.0 + bound)  # the worst pair has d - bound = -(1 + bound)
    equal_gap = max(-bound, 0.0)
    bets = []
    for gap in ([np.full_like(mean, equal_gap)] if equal_gap else []) + [np.maximum(mean - bound, equal_gap / 2)]:
        # The Kelly stake to second order: E[g] / E[g^2] of the gain g = d - bound.
        stake = np.clip(gap / (square - 2 * bound * mean + bound * bound), 0.0, largest)
        bets.append(np.cumsum(np.log1p(stake * (d - bound)), axis=-1))
    total = bets[0] if len(bets) == 1 else np.logaddexp(bets[0], bets[1]) - math.log(2.0)
    result: Floats = total
    return result


def first_crossing(log_capitals: Floats, alpha: float) -> int | None:
    """1-based pair at which the capital first reaches 1/alpha; None if it has not."""
    hits = np.flatnonzero(log_capitals >= -math.log(alpha))
    return int(hits[0]) + 1 if len(hits) else None


def _before(values: Floats) -> Floats:
    """Sums of everything before each position: what a bettor may know."""
    sums = np.cumsum(values, axis=-1)
    shifted: Floats = np.concatenate([np.zeros_like(sums[..., :1]), sums[..., :-1]], axis=-1)
    return shifted
