"""Confidence intervals and tests for shares and paired differences: pure, seeded, 95 % unless told."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tidegate.domain.base import Interval

LEVEL = 0.95
RESAMPLES = 2000  # enough for 95 % percentile ends (Davison & Hinkley 1997, section 2.5.2)


def wilson(successes: int, n: int, *, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share (Wilson 1927; Brown, Cai & DasGupta 2001, eq. 4)."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} rows is not a share")
    z = _z(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The exact ends at 0 and n differ from 0 and 1 by rounding only.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low=low, high=high, level=level, method="wilson")


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact p-value of McNemar's test: discordant pairs as fair coin tosses (McNemar 1947)."""
    discordant = wins + losses
    tail = sum(comb(discordant, k) for k in range(min(wins, losses) + 1))
    return min(1.0, float(2 * tail / 2**discordant))


def resample_groups(groups: int, *, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """(resamples, groups): how often each group is in each bootstrap sample of groups."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(float)


def percentile_interval(values: NDArray[np.float64], *, method: str, around: float, level: float = LEVEL) -> Interval:
    """Percentile interval of resampled values, widened where needed to contain the estimate itself.

    A percentile interval of a biased statistic (macro-F1 is one) can miss its own estimate; an interval that does not
    contain the value it is about would only confuse.
    """
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(low=min(float(low), around), high=max(float(high), around), level=level, method=method)


def paired_difference_interval(
    candidate: NDArray[np.bool_],
    baseline: NDArray[np.bool_],
    groups: Sequence[str],
    *,
    seed: int,
    level: float = LEVEL,
) -> Interval:
    """Interval of the difference of two shares on the same (n,) rows: the wider of two methods at each end.

    The bootstrap over groups knows that one customer's rows hang together, but collapses to a point when few pairs
    are discordant; Newcombe's score interval does not collapse, but takes rows for independent.
    """
    difference = candidate.astype(float) - baseline.astype(float)
    _, codes = np.unique(np.array(groups), return_inverse=True)
    sums = np.bincount(codes, weights=difference)
    sizes = np.bincount(codes).astype(float)
    weights = resample_groups(len(sums), seed=seed)
    resampled = (weights @ sums) / (weights @ sizes)
    bootstrap = percentile_interval(resampled, method="paired-bootstrap", around=float(difference.mean()), level=level)
    score = newcombe_paired(candidate, baseline, level=level)
    return Interval(
        low=min(bootstrap.low, score.low),
        high=max(bootstrap.high, score.high),
        level=level,
        method="paired-bootstrap-or-newcombe",
    )


def newcombe_paired(candidate: NDArray[np.bool_], baseline: NDArray[np.bool_], *, level: float = LEVEL) -> Interval:
    """Score interval of a paired difference of shares (Newcombe 1998, Statist. Med. 17:2635, method 10)."""
    n = len(candidate)
    both = int((candidate & baseline).sum())
    ours = int((candidate & ~baseline).sum())
    theirs = int((baseline & ~candidate).sum())
    neither = n - both - ours - theirs
    first, second = wilson(both + ours, n, level=level), wilson(both + theirs, n, level=level)
    share_first, share_second = (both + ours) / n, (both + theirs) / n
    correlation = _phi(both, ours, theirs, neither)
    down, up = share_first - first.low, first.high - share_first
    down_other, up_other = share_second - second.low, second.high - share_second
    difference = share_first - share_second
    low = difference - _root(down, up_other, correlation)
    high = difference + _root(up, down_other, correlation)
    return Interval(low=max(-1.0, low), high=min(1.0, high), level=level, method="newcombe-paired")


def _phi(both: int, ours: int, theirs: int, neither: int) -> float:
    """Correlation of the two outcomes, continuity-corrected towards zero as method 10 wants it."""
    margins = (both + ours) * (theirs + neither) * (both + theirs) * (ours + neither)
    if margins == 0:
        return 0.0
    determinant = both * neither - ours * theirs
    if determinant > 0:
        determinant = max(determinant - (both + ours + theirs + neither) // 2, 0)
    return determinant / sqrt(margins)


def _root(first: float, second: float, correlation: float) -> float:
    return sqrt(max(first * first - 2 * correlation * first * second + second * second, 0.0))


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
