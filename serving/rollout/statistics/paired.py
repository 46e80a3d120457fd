"""The two one-sided questions about a paired metric: is the candidate worse, and is it surely not much worse?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import betting
from serving.rollout.statistics.boundary import (
    NEVER,
    Remembered,
    fair_coin,
    first_crossing,
    spend_open_ended,
    spend_within,
)

_MISSINGNESS_ALPHA = 0.01
"""Error probability of the test for one-sided missing scores; it can only withhold a promotion."""
_MISSINGNESS_HALF = 50.0
"""One-sided missing scores by which half of that budget is spent."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Whether, and when, the candidate was shown to be worse.

    Attributes:
        crossed_at: 1-based unit at which the test crossed; None if it has not.
        losses, wins: units on which the candidate did worse or better.
        needed: losses that would cross now (binary metrics); None while no number of losses would, or for graded ones.
        e_value: capital against "not worse" (graded metrics); None for binary ones.
    """

    crossed_at: int | None
    losses: int
    wins: int
    needed: int | None
    e_value: float | None


def harm(series: PairedSeries, alpha: float, horizon: int, *, key: str = "") -> Harm:
    """Tests "the candidate is not worse" at every unit up to the horizon.

    Binary scores: McNemar's test made sequential, with an exact boundary over discordant pairs whose budget is spent by
    pairs out of the declared maximum. Graded scores: a betting e-process. Both are valid at any stopping time; the null
    is "equal", and the units must be independent (one pair a user).

    Args:
        alpha: probability of ever crossing when the versions are equal.
        horizon: declared maximum of units; units beyond it are not looked at.
        key: of the series, so that its boundary is remembered between calls.
    """
    d = series.differences[:horizon]
    losses, wins = int(np.count_nonzero(d < 0)), int(np.count_nonzero(d > 0))
    if not series.binary:
        capital = betting.log_capital(-d, 0.0) if len(d) else np.zeros(0)
        peak = float(capital.max()) if len(capital) else 0.0
        return Harm(betting.first_crossing(capital, alpha), losses, wins, None, math.exp(min(peak, 700.0)))
    positions = np.flatnonzero(d)
    thresholds = _sign_boundary(key, alpha, horizon).thresholds([(int(p) + 1,) for p in positions])
    index = first_crossing([int(d[p] < 0) for p in positions], thresholds)
    needed = thresholds[-1] if thresholds and thresholds[-1] != NEVER else None
    return Harm(int(positions[index]) + 1 if index is not None else None, losses, wins, needed, None)


@lru_cache(maxsize=256)
def _sign_boundary(key: str, alpha: float, horizon: int) -> Remembered:
    return Remembered(alpha, spend_within(horizon), fair_coin)


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether, and when, the candidate was shown to be less than the margin worse.

    Attributes:
        passed_at: 1-based unit; None if it has not passed.
        e_value: the largest capital so far against "worse by the margin or more"; it passes at 1/alpha.
    """

    passed_at: int | None
    e_value: float


def non_inferiority(series: PairedSeries, margin: float, alpha: float, horizon: int) -> NonInferiority:
    """Tests "the candidate is worse by the margin or more" with a betting e-process.

    Args:
        margin: in (0, 1]; 0.05 is 5 points.
        alpha: probability of ever passing a candidate that is exactly the margin worse.
    """
    if not series.units:
        return NonInferiority(None, 1.0)
    capital = betting.log_capital(series.differences[:horizon], -margin)
    return NonInferiority(betting.first_crossing(capital, alpha), math.exp(min(float(capital.max()), 700.0)))


def one_sided_missing(series: PairedSeries, *, key: str = "") -> str | None:
    """'candidate' or 'stable' when that side's scores are missing more often than chance allows; else None.

    Scores that are missing on one side only are a fair coin between the sides when missingness says nothing about the
    versions. Where it does (a version whose answers cannot be scored), what is left is no fair sample.
    """
    keys = [(i + 1,) for i in range(len(series.missing))]
    thresholds = _missing_boundary(key).thresholds(keys)
    for side in ("candidate", "stable"):
        if first_crossing([int(missing == side) for missing in series.missing], thresholds) is not None:
            return side
    return None


@lru_cache(maxsize=256)
def _missing_boundary(key: str) -> Remembered:
    return Remembered(_MISSINGNESS_ALPHA / 2, spend_open_ended(_MISSINGNESS_HALF), fair_coin)
