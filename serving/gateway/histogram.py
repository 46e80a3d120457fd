"""Latency as counts per bucket (`tidegate.domain.evidence.BOUNDS`), so that gateways' figures add up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from tidegate.domain.evidence import BOUNDS, BUCKETS


def bucket_of(seconds: float) -> int:
    """Index of the bucket that counts a value: the first whose upper bound is not below it."""
    return bisect_left(BOUNDS, seconds)


class Histogram:
    """Counts per bucket; `len(BOUNDS) + 1` of them."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS

    def observe(self, seconds: float) -> None:
        self.counts[bucket_of(seconds)] += 1


def quantile(counts: Sequence[int], q: float) -> float | None:
    """The q-quantile in seconds: the geometric middle of the bucket that holds it; None without observations.

    Values above the last bound are reported as that bound.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = max(1, -(-total * q // 1))  # ceil: the smallest value that at least a share q does not exceed
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return _middle(index)
    return BOUNDS[-1]


def _middle(index: int) -> float:
    if index == 0:
        return BOUNDS[0]
    if index >= len(BOUNDS):
        return BOUNDS[-1]
    return float((BOUNDS[index - 1] * BOUNDS[index]) ** 0.5)
