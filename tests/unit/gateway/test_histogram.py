"""Buckets count everything once, add up, and give quantiles within ten percent."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.histogram import Histogram, bucket_of, quantile
from tidegate.domain.evidence import BOUNDS, BUCKETS

_seconds = st.floats(min_value=0.0, max_value=1000.0)
_inside = st.floats(min_value=BOUNDS[0], max_value=BOUNDS[-1])


def test_the_bounds_rise_evenly_from_a_millisecond_to_two_minutes() -> None:
    assert (BOUNDS[0], BOUNDS[-1]) == (0.001, 120.0)
    steps = [high / low for low, high in itertools.pairwise(BOUNDS)]
    assert all(1.19 < step < 1.21 for step in steps)


@settings(deadline=None, max_examples=100)
@given(_seconds)
def test_a_value_lies_in_its_bucket(seconds: float) -> None:
    index = bucket_of(seconds)
    assert index == len(BOUNDS) or seconds <= BOUNDS[index]
    assert index == 0 or seconds > BOUNDS[index - 1]


@settings(deadline=None, max_examples=100)
@given(st.lists(_seconds))
def test_every_observation_is_counted_once(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert sum(histogram.counts) == len(values)
    assert len(histogram.counts) == BUCKETS


@settings(deadline=None, max_examples=100)
@given(st.lists(_inside, min_size=1), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_ten_percent_of_the_exact_one(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    exact = sorted(values)[max(1, math.ceil(len(values) * q)) - 1]
    estimate = quantile(histogram.counts, q)
    assert estimate is not None
    assert exact / 1.1 <= estimate <= exact * 1.1


def test_no_observations_have_no_quantile() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None
