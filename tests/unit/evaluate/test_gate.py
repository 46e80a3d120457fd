"""The gate: a table of what passes and what does not, and that every reason carries value and limit."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.evaluate.checks import (
    BeatsBase,
    Check,
    GateSpec,
    MaxValue,
    MetricName,
    MinRows,
    MinValue,
    NotWorse,
    SliceFloor,
)
from components.evaluate.gate import judge
from components.evaluate.intervals import wilson
from components.evaluate.metrics import METRICS
from tidegate.domain.base import Interval
from tidegate.domain.evaluation import GateCheck, Metric, PairedComparison, SliceMetric

NAN = math.nan


def metric(name: str = "exact_match", value: float = 0.9, low: float = 0.8, high: float = 0.95, n: int = 100) -> Metric:
    return Metric(name=name, value=value, interval=Interval(low=low, high=high, method="wilson"), n=n)


def pair(baseline: str, difference: float, low: float, high: float) -> PairedComparison:
    return PairedComparison(
        baseline=baseline,
        metric="exact_match",
        candidate_value=0.9,
        baseline_value=0.9 - difference,
        difference=difference,
        interval=Interval(low=low, high=high, method="paired-bootstrap"),
        wins=1,
        losses=1,
        n=100,
    )


def one(
    check: Check,
    *,
    metrics: tuple[Metric, ...] = (),
    slices: tuple[SliceMetric, ...] = (),
    comparisons: tuple[PairedComparison, ...] = (),
) -> GateCheck:
    verdict = judge(GateSpec(checks=(check,)), metrics=metrics, slices=slices, comparisons=comparisons)
    assert verdict.passed == verdict.checks[0].passed
    return verdict.checks[0]


@pytest.mark.parametrize(
    ("check", "given", "passed", "sentence"),
    [
        (MinValue(metric="exact_match", limit=0.8), metric(), True, "lower 95% bound 0.800"),
        (MinValue(metric="exact_match", limit=0.81), metric(), False, "at least 0.810"),
        (MinValue(metric="exact_match", limit=0.85, on="value"), metric(), True, "value 0.900"),
        (MinValue(metric="exact_match", limit=0.8), metric(low=NAN), False, "nan"),
        (MinValue(metric="exact_match", limit=0.1, on="value"), metric(value=NAN), False, "nan"),
        (MinValue(metric="macro_f1", limit=0.1), metric(), False, "macro_f1 was not measured"),
        (MaxValue(metric="invalid_rate", limit=0.05), metric("invalid_rate", 0.05), True, "at most 0.050"),
        (MaxValue(metric="invalid_rate", limit=0.05), metric("invalid_rate", 0.06), False, "value 0.060"),
        (
            MaxValue(metric="invalid_rate", limit=0.05, on="bound"),
            metric("invalid_rate", 0.01, 0.0, 0.06),
            False,
            "upper 95% bound 0.060",
        ),
        (MaxValue(metric="invalid_rate", limit=0.05), metric("invalid_rate", NAN), False, "nan"),
        (MinRows(rows=100), metric(), True, "100 test rows"),
        (MinRows(rows=101), metric(), False, "at least 101"),
    ],
)
def test_limits(check: Check, given: Metric, passed: bool, sentence: str) -> None:
    result = one(check, metrics=(given,))
    assert result.passed is passed
    assert sentence in result.reason


def test_bound_of_a_metric_without_interval_does_not_pass() -> None:
    latency = Metric(name="latency_p95", value=0.1, n=10, unit="seconds")
    assert not one(MaxValue(metric="latency_p95", limit=5.0, on="bound"), metrics=(latency,)).passed
    result = one(MaxValue(metric="latency_p95", limit=5.0), metrics=(latency,))
    assert result.passed
    assert "0.100 s" in result.reason


@pytest.mark.parametrize(
    ("low", "high", "margin", "passed"),
    [(0.05, 0.3, 0.0, True), (0.0, 0.3, 0.0, False), (-0.1, 0.3, 0.0, False), (0.05, 0.3, 0.1, False)],
)
def test_base_must_be_beaten_by_the_whole_interval(low: float, high: float, margin: float, passed: bool) -> None:
    assert one(BeatsBase(margin=margin), comparisons=(pair("base", 0.2, low, high),)).passed is passed


def test_missing_or_undefined_comparison_with_the_base_does_not_pass() -> None:
    assert not one(BeatsBase()).passed
    assert not one(BeatsBase(), comparisons=(pair("m/1", 0.2, 0.1, 0.3),)).passed
    assert not one(BeatsBase(), comparisons=(pair("base", NAN, NAN, NAN),)).passed


@pytest.mark.parametrize(
    ("difference", "low", "high", "inconclusive", "passed"),
    [
        (0.00, -0.04, 0.04, "estimate", True),  # proven within the margin of 0.05
        (-0.20, -0.30, -0.10, "estimate", False),  # proven worse
        (-0.20, -0.30, -0.10, "pass", False),
        (-0.02, -0.08, 0.04, "estimate", True),  # too few rows; estimate within the margin
        (-0.06, -0.12, 0.00, "estimate", False),  # too few rows; estimate beyond it
        (-0.06, -0.12, 0.00, "pass", True),
        (-0.02, -0.08, 0.04, "fail", False),
        (NAN, NAN, NAN, "pass", False),
    ],
)
def test_champion(difference: float, low: float, high: float, inconclusive: str, passed: bool) -> None:
    check = NotWorse.model_validate({"margin": 0.05, "inconclusive": inconclusive})
    result = one(check, comparisons=(pair("base", 0.5, 0.4, 0.6), pair("m/1", difference, low, high)))
    assert result.passed is passed
    assert "m/1" in result.reason


def test_without_a_champion_there_is_nothing_to_be_worse_than() -> None:
    result = one(NotWorse(inconclusive="fail"), comparisons=(pair("base", 0.5, 0.4, 0.6),))
    assert result.passed
    assert "no champion" in result.reason


def test_slice_below_the_floor_is_named_and_small_ones_are_not_judged() -> None:
    slices = tuple(
        SliceMetric(slice=name, metric=metric(value=value, n=n))
        for name, value, n in (("good", 0.9, 20), ("bad", 0.1, 20), ("rare", 0.0, 2))
    )
    result = one(SliceFloor(floor=0.5, rows=10), slices=slices)
    assert not result.passed
    assert "bad 0.100 on 20 rows" in result.reason
    assert "rare" not in result.reason
    assert one(SliceFloor(floor=0.5, rows=10), slices=(slices[0], slices[2])).passed


@pytest.mark.parametrize(
    ("value", "low", "high", "inconclusive", "passed"),
    [
        (0.60, 0.35, 0.80, "fail", True),  # surely above the floor of 0.3
        (0.10, 0.02, 0.25, "pass", False),  # surely below
        (0.25, 0.07, 0.59, "estimate", False),  # too few rows to tell; estimate below
        (0.25, 0.07, 0.59, "pass", True),
        (0.50, 0.22, 0.78, "estimate", True),  # too few rows to tell; estimate above
        (0.50, 0.22, 0.78, "fail", False),
        (NAN, NAN, NAN, "pass", False),
        (NAN, NAN, NAN, "estimate", False),
    ],
)
def test_floor_of_a_label(value: float, low: float, high: float, inconclusive: str, passed: bool) -> None:
    check = SliceFloor.model_validate({"floor": 0.3, "rows": 8, "inconclusive": inconclusive})
    result = one(check, slices=(SliceMetric(slice="pin", metric=metric(value=value, low=low, high=high, n=8)),))
    assert result.passed is passed
    if not passed:
        assert f"pin {value:.3f} on 8 rows, interval [{low:.3f}, {high:.3f}]" in result.reason
        assert ("too few rows to tell" in result.reason) is (high >= 0.3)


def test_a_label_without_interval_is_judged_by_its_estimate_alone() -> None:
    slices = (SliceMetric(slice="pin", metric=Metric(name="exact_match", value=1.0, n=8)),)
    assert one(SliceFloor(), slices=slices).passed
    refused = one(SliceFloor(inconclusive="pass"), slices=slices)
    assert not refused.passed
    assert "pin 1.000 on 8 rows without an interval" in refused.reason


@given(st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=6))
def test_stricter_words_never_pass_more(counts: list[tuple[int, int]]) -> None:
    slices = tuple(
        SliceMetric(slice=str(label), metric=Metric(name="exact_match", value=k / n, interval=wilson(k, n), n=n))
        for label, (k, n) in enumerate(counts)
    )
    fail, estimate, lenient = (
        one(SliceFloor.model_validate({"inconclusive": word}), slices=slices).passed
        for word in ("fail", "estimate", "pass")
    )
    assert fail <= estimate <= lenient


def test_verdict_needs_every_check_and_lists_the_failed_ones() -> None:
    verdict = judge(
        GateSpec(checks=(MinRows(rows=10), MinValue(metric="exact_match", limit=0.99))),
        metrics=(metric(),),
        slices=(),
        comparisons=(),
    )
    assert not verdict.passed
    assert [check.passed for check in verdict.checks] == [True, False]
    assert len(verdict.reasons) == 1


def test_what_a_check_may_name_is_what_is_measured() -> None:
    assert list(METRICS) == list(get_args(MetricName))


def test_unknown_metric_and_empty_gate_are_refused() -> None:
    with pytest.raises(ValidationError, match="Input should be 'exact_match', 'macro_f1'"):
        MinValue.model_validate({"metric": "blue", "limit": 1.0})
    with pytest.raises(ValidationError):
        GateSpec(checks=())
    with pytest.raises(ValidationError):
        GateSpec.model_validate({"checks": [{"check": "min_value", "metric": "exact_match", "limit": "nan"}]})
