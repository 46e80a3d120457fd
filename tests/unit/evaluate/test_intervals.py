"""Intervals and tests against known values, other implementations, and their own properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from components.evaluate.intervals import (
    mcnemar_exact,
    newcombe_paired,
    paired_difference_interval,
    resample_groups,
    wilson,
)

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None)
@given(counts)
def test_wilson_agrees_with_scipy(count: tuple[int, int]) -> None:
    successes, n = count
    other = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    ours = wilson(successes, n)
    assert (ours.low, ours.high) == pytest.approx((other.low, other.high), abs=1e-9)


@settings(deadline=None)
@given(counts)
def test_wilson_contains_the_share_and_stays_in_the_unit_interval(count: tuple[int, int]) -> None:
    successes, n = count
    interval = wilson(successes, n)
    assert 0.0 <= interval.low <= successes / n <= interval.high <= 1.0


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        wilson(successes, n)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_scipy_and_is_symmetric(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar_exact(wins, losses) == pytest.approx(expected, abs=1e-9)
    assert mcnemar_exact(wins, losses) == mcnemar_exact(losses, wins)


def test_newcombe_of_the_paper() -> None:
    """Newcombe 1998, table III: 36 both, 12 only the first, 2 only the second, 0 neither; method 10."""
    first = np.array([True] * 48 + [False] * 2)
    second = np.array([True] * 36 + [False] * 12 + [True] * 2)
    interval = newcombe_paired(first, second)
    assert (interval.low, interval.high) == pytest.approx((0.0569, 0.3404), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_paired_interval_contains_the_difference_and_mirrors(rows: list[tuple[bool, bool]]) -> None:
    first, second = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    groups = [str(index // 2) for index in range(len(rows))]
    forward = paired_difference_interval(first, second, groups, seed=1)
    backward = paired_difference_interval(second, first, groups, seed=1)
    difference = float(first.mean() - second.mean())
    assert forward.low - 1e-12 <= difference <= forward.high + 1e-12
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low), abs=1e-9)


def test_paired_interval_of_equal_answers_is_not_a_point() -> None:
    same = np.array([True, False] * 20)
    interval = paired_difference_interval(same, same, [str(i) for i in range(40)], seed=0)
    assert interval.low < -0.01
    assert interval.high > 0.01


def test_dependent_rows_widen_the_interval() -> None:
    """Ten equal rows a customer carry the information of one."""
    rng = np.random.default_rng(3)
    ours, theirs = np.repeat(rng.random(30) < 0.8, 10), np.repeat(rng.random(30) < 0.5, 10)
    alone = paired_difference_interval(ours, theirs, [str(i) for i in range(300)], seed=0)
    grouped = paired_difference_interval(ours, theirs, [str(i // 10) for i in range(300)], seed=0)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_resamples_are_seeded_and_keep_the_number_of_groups() -> None:
    weights = resample_groups(7, seed=5, resamples=50)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == resample_groups(7, seed=5, resamples=50)).all()
    assert (weights != resample_groups(7, seed=6, resamples=50)).any()


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """300 simulated comparisons of 100 pairs: at least 92 % cover (nominal 95 %, conservative by construction)."""
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        ours, theirs = rng.random(100) < 0.85, rng.random(100) < 0.75
        interval = paired_difference_interval(ours, theirs, [str(i) for i in range(100)], seed=trial)
        covered += interval.low <= 0.10 <= interval.high
    assert covered >= 276
