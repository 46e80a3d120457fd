"""The sequential tests: exact where they claim to be exact, and powerful enough for the targets."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import betting, concurrent, paired
from serving.rollout.statistics.boundary import (
    COIN,
    NEVER,
    Boundary,
    Remembered,
    binomial,
    fair_coin,
    first_crossing,
    hypergeometric,
    spend_open_ended,
    spend_within,
)
from serving.rollout.statistics.concurrent import Table
from serving.rollout.statistics.forecast import Prospect, pairs_to_find_harm, pairs_to_promote


def series(differences: object, *, binary: bool = True) -> PairedSeries:
    return PairedSeries(np.asarray(differences, dtype=np.float64), 0.5, 0.5, binary)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.floats(0.01, 0.4), st.floats(0.3, 2.0))
def test_a_boundary_is_crossed_with_exactly_the_probability_it_says_it_spent(
    gaps: list[int], alpha: float, power: float
) -> None:
    positions = list(itertools.accumulate(gaps))
    boundary = Boundary(alpha, spend_within(positions[-1], power))
    thresholds = [boundary.step(COIN, position) for position in positions]
    paths = itertools.product((0, 1), repeat=len(positions))
    crossed = sum(first_crossing(path, thresholds) is not None for path in paths)
    assert crossed / 2 ** len(positions) == pytest.approx(boundary.spent)
    assert boundary.spent <= alpha * (1 + 1e-9)


def test_a_boundary_over_strata_never_spends_more_than_its_budget() -> None:
    rng = np.random.default_rng(3)
    boundary = Boundary(0.05, spend_open_ended(100))
    thresholds, drawn, seen = [], [], 0
    sizes = [(int(rng.integers(1, 20)), int(rng.integers(1, 20)), int(rng.integers(1, 6))) for _ in range(40)]
    for candidate, stable, wanted in sizes:
        seen += candidate
        marked = min(wanted, candidate + stable)
        thresholds.append(boundary.step(hypergeometric(candidate, marked, candidate + stable), seen))
        drawn.append(rng.hypergeometric(marked, candidate + stable - marked, candidate, size=20_000))
    sums = np.cumsum(np.array(drawn), axis=0)
    crossed = (sums >= np.array(thresholds)[:, None]).any(axis=0).mean()
    assert boundary.spent <= 0.05
    assert crossed == pytest.approx(boundary.spent, abs=4 * math.sqrt(0.05 / 20_000))


def test_probabilities_of_increments_are_the_textbook_ones() -> None:
    assert hypergeometric(2, 2, 4) == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    assert binomial(2, 0.25) == pytest.approx([0.5625, 0.375, 0.0625])


def test_a_remembered_boundary_equals_a_fresh_one_even_after_late_evidence() -> None:
    remembered = Remembered(0.01, spend_within(100), fair_coin)
    remembered.thresholds([(p,) for p in (3, 9, 20)])
    changed = [(p,) for p in (2, 9, 20, 31, 40, 41, 44, 50, 60, 61, 62)]
    fresh = Remembered(0.01, spend_within(100), fair_coin).thresholds(changed)
    assert remembered.thresholds(changed) == fresh
    assert min(fresh) < NEVER


def trinomial(difference: float, discordant: float, shape: tuple[int, int], seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed).random(shape)
    losses, wins = (discordant - difference) / 2, (discordant + difference) / 2
    return np.where(draws < losses, -1.0, np.where(draws < losses + wins, 1.0, 0.0))


def test_a_ten_point_drop_is_found_within_300_pairs() -> None:
    found = [
        paired.harm(series(row), 0.01, 300, key="").crossed_at for row in trinomial(-0.10, 0.16, (400, 300), seed=5)
    ]
    hits = [at for at in found if at is not None]
    assert len(hits) / 400 >= 0.94  # target 95%: the script of docs/benchmarks/rollouts.md measures it closely
    assert np.median([at or 301 for at in found]) <= 140


def test_equal_versions_are_seldom_called_harmful() -> None:
    rows = trinomial(0.0, 0.16, (1500, 300), seed=6)
    false = sum(paired.harm(series(row), 0.01, 300, key="").crossed_at is not None for row in rows)
    assert false <= 27  # 1% of 1500 is 15; 27 is three standard deviations above


def test_pairs_beyond_the_declared_maximum_are_not_looked_at() -> None:
    late = [0.0] * 50 + [-1.0] * 40
    assert paired.harm(series(late), 0.01, 50, key="").crossed_at is None
    assert paired.harm(series(late), 0.01, 100, key="").crossed_at is not None


def test_graded_scores_are_judged_by_betting() -> None:
    rng = np.random.default_rng(7)
    worse = paired.harm(series(rng.uniform(-0.4, 0.2, 400), binary=False), 0.01, 400)
    equal = paired.harm(series(rng.uniform(-0.3, 0.3, 400), binary=False), 0.01, 400)
    assert worse.crossed_at is not None
    assert equal.crossed_at is None
    assert worse.e_value is not None
    assert worse.e_value >= 100


@pytest.mark.parametrize(("margin", "discordant"), [(0.05, 0.16), (0.10, 0.30)])
def test_a_candidate_exactly_at_the_margin_seldom_passes(margin: float, discordant: float) -> None:
    rows = trinomial(-margin, discordant, (1500, 600), seed=8)
    passed = (betting.log_capital(rows, -margin) >= math.log(20)).any(axis=1).mean()
    assert passed <= 0.067  # 5% and three standard deviations


def test_the_capital_is_a_supermartingale_at_the_margin() -> None:
    """Its expectation after n pairs is one: checked over all 3^7 paths, whatever the bets were."""
    margin, loss, win = 0.2, 0.35, 0.15
    steps = {-1.0: loss, 0.0: 1 - loss - win, 1.0: win}
    paths = list(itertools.product(steps, repeat=7))
    probabilities = np.array([math.prod(steps[d] for d in path) for path in paths])
    capital = np.exp(betting.log_capital(np.array(paths), -margin))
    assert capital.T @ probabilities == pytest.approx(np.ones(7))


def test_the_forecast_of_pairs_is_what_the_test_needs() -> None:
    prospect = Prospect(0.0, 0.16)
    pairs = pairs_to_promote(prospect, 0.05, 0.05, 0.9, 2000)
    assert pairs is not None
    capital = betting.log_capital(trinomial(0.0, 0.16, (800, pairs), seed=9), -0.05)
    assert (capital >= math.log(20)).any(axis=1).mean() == pytest.approx(0.9, abs=0.05)
    assert pairs_to_promote(prospect, 0.05, 0.05, 0.9, 100) is None


def test_the_forecast_of_harm_is_what_the_test_needs() -> None:
    pairs = pairs_to_find_harm(Prospect(-0.10, 0.16), 0.01, 0.9, 300)
    assert pairs is not None
    rows = trinomial(-0.10, 0.16, (400, 300), seed=10)
    found = [paired.harm(series(row), 0.01, 300, key="").crossed_at or 301 for row in rows]
    assert np.mean([at <= pairs for at in found]) == pytest.approx(0.9, abs=0.06)


def test_an_error_rate_of_five_percent_is_found_within_500_candidate_requests() -> None:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(200):
        tables = [Table(20, int(rng.binomial(20, 0.05)), 180, int(rng.binomial(180, 0.01))) for _ in range(25)]
        found += concurrent.compare(tables, 0.01).crossed is not None
    assert found / 200 >= 0.92


def test_rates_that_change_with_the_weight_fake_no_difference() -> None:
    """Simpson: a bad hour at 50% pooled with a good one at 10% looks like a bad candidate."""
    good = [Table(10, 0, 90, 1)] * 20
    bad = [Table(50, 10, 50, 10)] * 20
    result = concurrent.compare(good + bad, 0.01)
    assert result.candidate_share > 1.5 * result.stable_share
    assert result.crossed is None
    assert abs(result.difference) < 0.01


def test_scores_missing_for_one_version_only_are_noticed() -> None:
    fair = PairedSeries(np.zeros(10), 0, 0, True, missing=("candidate", "stable") * 20)
    unfair = PairedSeries(np.zeros(10), 0, 0, True, missing=("candidate",) * 20)
    assert paired.one_sided_missing(fair) is None
    assert paired.one_sided_missing(unfair) == "candidate"
