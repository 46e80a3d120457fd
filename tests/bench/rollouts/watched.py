"""What a monitoring system shows of one split of the traffic: per-interval figures of each arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.bench.rollouts.traffic import Bools, Floats, Ints, Traffic
from tidegate.domain.evidence import BOUNDS, BUCKETS

_BUCKET_SECONDS = np.array([*BOUNDS, BOUNDS[-1] * 1.2])


@dataclass(frozen=True)
class Series:
    """One arm's figures per interval; NaN where the interval has no request.

    Attributes:
        requests: `(intervals,)`.
        errors, accuracy: shares of requests, in [0, 1].
        ttft: 95% quantile in seconds.
    """

    requests: Ints
    errors: Floats
    accuracy: Floats
    ttft: Floats


def watch(traffic: Traffic, rows: Ints, version: int, seconds: float, intervals: int) -> Series:
    """The figures of requests `rows`, answered by a version (0 stable, 1 candidate).

    Every answer counts, with its label: what a team would see that scores all of its traffic.
    """
    index = (traffic.time[rows] // seconds).astype(np.int64)
    kept = index < intervals
    rows, index = rows[kept], index[kept]
    requests = np.bincount(index, minlength=intervals)
    fails = traffic.fails[version, rows]
    right = traffic.right[version, rows] & ~fails
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.bincount(index, weights=fails, minlength=intervals) / requests
        accuracy = np.bincount(index, weights=right, minlength=intervals) / requests
    ok = ~fails
    cells = index[ok] * BUCKETS + traffic.bucket[version, rows[ok]]
    histogram = np.bincount(cells, minlength=intervals * BUCKETS).reshape(intervals, BUCKETS)
    return Series(requests, errors, accuracy, _quantile(histogram, 0.95))


def _quantile(histogram: Ints, q: float) -> Floats:
    total = histogram.sum(axis=1)
    bucket = (np.cumsum(histogram, axis=1) >= q * total[:, None]).argmax(axis=1)
    return np.where(total > 0, _BUCKET_SECONDS[bucket], np.nan)


def split(traffic: Traffic, weights: Floats, seconds: float) -> Bools:
    """Which requests the candidate answers when the weight (percent) of every interval is given."""
    index = np.minimum((traffic.time // seconds).astype(np.int64), len(weights) - 1)
    on_candidate: Bools = traffic.of_request < weights[index]
    return on_candidate
