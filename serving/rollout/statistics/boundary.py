"""Exact sequential boundaries by alpha spending (Lan & DeMets 1983, Biometrika 70(3):659-663).

A test statistic is a sum of integer increments whose null distribution is known *given what the test conditions on*
(which pairs are discordant; how many requests and errors a block has). The boundary is computed by dynamic programming
(Armitage, McPherson & Rowe 1969, JRSS A 132:235-244): the distribution of the sum among the paths that have not
crossed yet is convolved with the next increment, and as much of its upper tail is cut off as the budget spent so far
allows. The probability of ever crossing under the null is therefore at most the budget: no asymptotics, no
supermartingale bound that is never reached, which is where it gains its power over a mixture e-process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Spending = Callable[[float], float]
"""Information seen so far (pairs, requests) -> share of the budget in [0, 1] that may be spent by then; growing."""

Floats = NDArray[np.float64]
Key = tuple[int, ...]

NEVER = 1 << 30
"""A threshold that no statistic reaches: the budget does not pay for any outcome yet."""


def spend_within(horizon: float, power: float = 0.8) -> Spending:
    """Spending over a declared horizon: `(t / horizon) ** power`, all of it at the horizon and nothing after.

    A power of one spends evenly; below one spends earlier. (Kim & DeMets 1987, Biometrika 74:149-154.)
    """

    def spend(information: float) -> float:
        return float(min(1.0, max(0.0, information / horizon)) ** power)

    return spend


def spend_open_ended(half: float) -> Spending:
    """Spending without a horizon: `t / (t + half)`; half of the budget by `half` units of information."""

    def spend(information: float) -> float:
        return information / (information + half)

    return spend


class Boundary:
    """A one-sided upper boundary, grown one increment at a time.

    Args:
        alpha: the probability of ever crossing under the null, at most.
        spending: how the budget is released over information time.
    """

    def __init__(self, alpha: float, spending: Spending) -> None:
        self._alpha = alpha
        self._spending = spending
        self._alive: Floats = np.ones(1)
        self._lowest = 0  # value of the sum that alive[0] stands for
        self._spent = 0.0

    @property
    def spent(self) -> float:
        """Probability of having crossed under the null, given what the test conditions on."""
        return self._spent

    def step(self, increment: Floats, information: float) -> int:
        """The threshold after one more increment: a sum at or above it has crossed.

        Args:
            increment: `(k + 1,)` null probabilities of the increment's values 0..k, given the conditioning.
            information: pairs or requests seen so far, this increment included; never falls.
        """
        alive = np.convolve(self._alive, increment)
        budget = self._alpha * self._spending(information) - self._spent
        tails = np.cumsum(alive[::-1])[::-1]  # tails[i] = P(alive, sum >= lowest + i)
        affordable = int(np.searchsorted(-tails, -budget, side="left"))  # first i whose tail is within the budget
        if affordable < len(alive):
            self._spent += float(tails[affordable])
        threshold = self._lowest + affordable if affordable < len(alive) else NEVER
        self._alive, self._lowest = _trim(alive[:affordable], self._lowest)
        return threshold


_NEGLIGIBLE = 1e-18


def _trim(alive: Floats, lowest: int) -> tuple[Floats, int]:
    """Without the far lower tail: what is dropped is never counted as alive, which can only spend less."""
    if len(alive) < 512:  # short vectors are not worth the scan
        return alive, lowest
    keep = int(np.searchsorted(np.cumsum(alive), _NEGLIGIBLE))
    return alive[keep:], lowest + keep


COIN: Floats = np.array([0.5, 0.5])
"""Null distribution of one discordant pair's sign: McNemar's conditioning (McNemar 1947, Psychometrika 12:153-157)."""


@lru_cache(maxsize=8192)
def hypergeometric(draws: int, marked: int, total: int) -> Floats:
    """`(min(draws, marked) + 1,)` probabilities of 0..k marked ones among `draws` of `total` without replacement."""
    top = min(draws, marked)
    values = np.arange(top + 1)
    weights = np.array(
        [_log_choose(marked, int(k)) + _log_choose(total - marked, draws - int(k)) for k in values]
    ) - _log_choose(total, draws)
    probabilities: Floats = np.exp(weights)
    return _normalised(probabilities)


@lru_cache(maxsize=2048)
def binomial(trials: int, probability: float) -> Floats:
    """`(trials + 1,)` binomial probabilities."""
    log_p, log_q = math.log(probability), math.log1p(-probability)
    logs = np.array([_log_choose(trials, k) + k * log_p + (trials - k) * log_q for k in range(trials + 1)])
    probabilities: Floats = np.exp(logs)
    return _normalised(probabilities)


def _normalised(probabilities: Floats) -> Floats:
    """Without the rounding of the logarithms, so that no mass is lost over thousands of increments."""
    total: Floats = probabilities / probabilities.sum()
    return total


def _log_choose(n: int, k: int) -> float:
    if k < 0 or k > n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


class Remembered:
    """Thresholds for a growing list of increments, computed once each.

    A controller judges the same rollout twice a second: only what is new is computed. Late evidence that changes the
    past is noticed and the boundary is computed afresh.

    Args:
        increment: key of an increment -> (its null probabilities, information so far).
    """

    def __init__(self, alpha: float, spending: Spending, increment: Callable[[Key], tuple[Floats, float]]) -> None:
        self._alpha = alpha
        self._spending = spending
        self._increment = increment
        self._reset()

    def _reset(self) -> None:
        self._boundary = Boundary(self._alpha, self._spending)
        self._keys: list[Key] = []
        self._thresholds: list[int] = []

    def thresholds(self, keys: Sequence[Key]) -> list[int]:
        """`(len(keys),)` values of the sum that cross after each increment."""
        if self._keys != list(keys[: len(self._keys)]):
            self._reset()
        for key in keys[len(self._keys) :]:
            probabilities, information = self._increment(key)
            self._thresholds.append(self._boundary.step(probabilities, information))
            self._keys.append(key)
        return self._thresholds[: len(keys)]


def fair_coin(key: Key) -> tuple[Floats, float]:
    """A discordant pair at `key = (number of pairs seen,)`.

    Which pairs are discordant is ancillary under "both versions are equal": given it, every discordant pair is a fair
    coin. The budget is spent by the number of *pairs* seen, so one boundary serves every discordance rate.
    """
    return COIN, float(key[0])


def stratum(key: Key) -> tuple[Floats, float]:
    """A block with `key = (candidate requests, marked requests, all requests, candidate requests so far)`.

    Given the margins of the block's two-by-two table the candidate's marked requests are hypergeometric under "equal in
    this block" (Fisher's exact test; summed over strata, the exact Mantel-Haenszel test: Mantel & Haenszel 1959, JNCI
    22:719-748). Blocks with unlike rates or unlike weights do not mix, so there is no Simpson's paradox.
    """
    draws, marked, total, so_far = key
    return hypergeometric(draws, marked, total), float(so_far)


def trials_at(probability: float) -> Callable[[Key], tuple[Floats, float]]:
    """Blocks with `key = (trials, trials so far)` whose successes are binomial with a known probability at most."""

    def increment(key: Key) -> tuple[Floats, float]:
        return binomial(key[0], probability), float(key[1])

    return increment


def first_crossing(increments: Sequence[int], thresholds: Sequence[int]) -> int | None:
    """Index of the first increment after which the sum is at or above its threshold; None if there is none."""
    total = 0
    for index, (increment, threshold) in enumerate(zip(increments, thresholds, strict=True)):
        total += increment
        if total >= threshold:
            return index
    return None
