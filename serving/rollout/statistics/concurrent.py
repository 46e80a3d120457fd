"""Harm tests for what cannot be paired: error rates and latency quantiles of concurrent requests.

Arms are compared only within a stratum (same step, neighbouring blocks), by exact conditional tests whose evidence is
summed over strata: traffic or weights that change between strata cannot fake a difference. What is counted are users,
each once a step, wherever the gateways tell them apart: requests of one user are alike and stay on one arm, so that
requests are no independent pieces of evidence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serving.rollout.blocks import Block, Counts
from serving.rollout.statistics.boundary import (
    NEVER,
    Key,
    Remembered,
    first_crossing,
    spend_open_ended,
    stratum,
    trials_at,
)

HALF_SPENT = 250.0
"""Candidate requests by which half of a test's budget is spent: a canary's first minutes matter most."""
MIN_FOR_CEILING = 20
"""Answers of the candidate below which the ceiling is not judged: a cold start makes the first few slow together."""
_MIN_STABLE = 20
"""Stable requests needed before a latency quantile of theirs is worth comparing with."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A harm test's outcome over blocks.

    Attributes:
        crossed: candidate requests seen when the test crossed; None if it has not.
        difference: the candidate's share of marked requests minus the stable version's, stratified (fraction).
    """

    crossed: int | None
    difference: float
    candidate_requests: int
    stable_requests: int
    candidate_marked: int
    stable_marked: int

    @property
    def candidate_share(self) -> float:
        return self.candidate_marked / max(1, self.candidate_requests)

    @property
    def stable_share(self) -> float:
        return self.stable_marked / max(1, self.stable_requests)


@dataclass(frozen=True, slots=True)
class Table:
    """One block's two-by-two table."""

    candidate: int
    candidate_marked: int
    stable: int
    stable_marked: int


def compare(tables: Sequence[Table], alpha: float, *, key: str = "") -> Comparison:
    """Tests "marked no more often than on the stable arm" over blocks, valid after any block.

    The estimate is the Mantel-Haenszel risk difference (Greenland & Robins 1985, Biometrics 41:55-68).
    """
    usable = [table for table in tables if table.candidate and table.stable]
    so_far = list(accumulate(table.candidate for table in usable))
    keys: list[Key] = []
    marked: list[int] = []
    at: list[int] = []
    for table, seen in zip(usable, so_far, strict=True):
        total_marked = table.candidate_marked + table.stable_marked
        if total_marked:  # a block without a marked request says nothing under the conditioning
            keys.append((table.candidate, total_marked, table.candidate + table.stable, seen))
            marked.append(table.candidate_marked)
            at.append(seen)
    index = first_crossing(marked, _strata(key, alpha).thresholds(keys))
    weights = [table.candidate * table.stable / (table.candidate + table.stable) for table in usable]
    gaps = [table.candidate_marked / table.candidate - table.stable_marked / table.stable for table in usable]
    weight = sum(weights)
    return Comparison(
        crossed=at[index] if index is not None else None,
        difference=sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / weight if weight else 0.0,
        candidate_requests=sum(table.candidate for table in usable),
        stable_requests=sum(table.stable for table in usable),
        candidate_marked=sum(table.candidate_marked for table in usable),
        stable_marked=sum(table.stable_marked for table in usable),
    )


@lru_cache(maxsize=256)
def _strata(key: str, alpha: float) -> Remembered:
    return Remembered(alpha, spend_open_ended(HALF_SPENT), stratum)


def error_tables(blocks: Sequence[Block]) -> list[Table]:
    """Blocks marked by errors."""
    return [Table(b.candidate.requests, b.candidate.errors, b.stable.requests, b.stable.errors) for b in blocks]


# --- latency ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LatencyMetric:
    """A quantile of a latency: 'ttft-p95' is ('ttft', 0.95)."""

    what: Literal["latency", "ttft"]
    quantile: float

    def counts(self, counts: Counts) -> tuple[int, ...]:
        return counts.latency if self.what == "latency" else counts.ttft


def parse_latency(name: str) -> LatencyMetric | None:
    """The latency metric that a plan's metric name means; None if it is no latency."""
    match = re.fullmatch(r"(latency|ttft)-p(\d{2})", name)
    if match is None:
        return None
    return LatencyMetric("latency" if match[1] == "latency" else "ttft", int(match[2]) / 100)


def slow_tables(
    blocks: Sequence[Block], metric: LatencyMetric, increase: float, bounds: Sequence[float], baseline: Counts | None
) -> list[Table]:
    """Blocks marked by slow requests: above the stable quantile, for the candidate above it by the allowed increase.

    The quantile of a block comes from the stable requests *before* it (and the baseline), so that the threshold does
    not depend on what it judges. "The candidate's quantile is no more than the increase above the stable one" implies
    that its share of slow requests is no larger. Thresholds are bucket bounds, rounded up: in the candidate's favour by
    at most one bucket.

    Args:
        increase: fraction; 0.1 allows 10% more.
    """
    if not blocks:
        return []
    width = len(bounds) + 1
    stable = np.array([_padded(metric.counts(block.stable), width) for block in blocks])
    candidate = np.array([_padded(metric.counts(block.candidate), width) for block in blocks])
    before = np.cumsum(stable, axis=0) - stable
    if baseline is not None:
        before = before + np.array(_padded(metric.counts(baseline), width))
    seen = before.sum(axis=1)
    # The bucket that holds the quantile; what is slower lies in the buckets after it.
    bucket = (np.cumsum(before, axis=1) >= metric.quantile * seen[:, None]).argmax(axis=1)
    allowed = np.array([above(bounds, bound * (1 + increase)) for bound in bounds] + [width])
    rows = np.flatnonzero(seen >= _MIN_STABLE)
    slow_stable = _tails(stable)[rows, bucket[rows] + 1]
    slow_candidate = _tails(candidate)[rows, allowed[bucket[rows]]]
    columns = (candidate[rows].sum(axis=1), slow_candidate, stable[rows].sum(axis=1), slow_stable)
    return [Table(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _tails(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`(blocks, width + 1)`: requests in a bucket or a slower one; none beyond the last."""
    reversed_sums = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([reversed_sums, np.zeros((len(counts), 1), dtype=np.int64)], axis=1)


def above(bounds: Sequence[float], limit: float) -> int:
    """Index of the first bucket whose requests all took longer than a bound that is at least the limit (seconds)."""
    for index, bound in enumerate(bounds):
        if bound >= limit * (1 - 1e-9):
            return index + 1
    return len(bounds) + 1


def _padded(counts: tuple[int, ...], width: int) -> tuple[int, ...]:
    return counts if len(counts) == width else (*counts, *(0 for _ in range(width - len(counts))))[:width]


def over_ceiling(
    blocks: Sequence[Block],
    metric: LatencyMetric,
    ceiling_seconds: float,
    bounds: Sequence[float],
    alpha: float,
    key: str,
) -> tuple[int | None, int, int]:
    """Tests "the candidate's quantile is at or below the ceiling", without looking at the stable arm.

    Returns:
        Candidate requests when it crossed or None; candidate requests above the ceiling; candidate requests.
    """
    start = above(bounds, ceiling_seconds)
    keys: list[Key] = []
    slow: list[int] = []
    seen = 0
    for block in blocks:
        counts = metric.counts(block.candidate)
        if total := sum(counts):
            seen += total
            keys.append((total, seen))
            slow.append(sum(counts[start:]))
    boundary = _ceiling(key, alpha, metric.quantile).thresholds(keys)
    thresholds = [NEVER if so_far < MIN_FOR_CEILING else at for (_, so_far), at in zip(keys, boundary, strict=True)]
    index = first_crossing(slow, thresholds)
    return (keys[index][1] if index is not None else None), sum(slow), seen


@lru_cache(maxsize=256)
def _ceiling(key: str, alpha: float, quantile: float) -> Remembered:
    return Remembered(alpha, spend_open_ended(HALF_SPENT), trials_at(1 - quantile))
