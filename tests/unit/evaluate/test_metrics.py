"""Metrics against scikit-learn and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from components.evaluate.metrics import INVALID, METRICS, Answers, compare, confusion, label_slices, measure

LABELS = ("a", "b", "c")
rows = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*LABELS, "nonsense"))), min_size=1, max_size=40)


def answers(items: list[tuple[str, str]], seconds: float = 0.1) -> Answers:
    return Answers(
        labels=[label for label, _ in items],
        predictions=[answer for _, answer in items],
        groups=[str(index // 2) for index in range(len(items))],
        valid=LABELS,
        seconds=[seconds] * len(items),
    )


@settings(max_examples=50, deadline=None)
@given(rows)
def test_macro_f1_agrees_with_sklearn(items: list[tuple[str, str]]) -> None:
    given_answers = answers(items)
    present = sorted(set(given_answers.labels))
    expected = f1_score(
        given_answers.labels, given_answers.predictions, labels=present, average="macro", zero_division=0.0
    )
    assert METRICS["macro_f1"](given_answers).value == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(rows)
def test_every_metric_lies_in_its_interval(items: list[tuple[str, str]]) -> None:
    for metric in measure(answers(items)):
        assert metric.n == len(items)
        if metric.interval is not None:
            assert metric.interval.low <= metric.value <= metric.interval.high
            assert metric.interval.low >= 0.0
            assert metric.interval.high <= 1.0


@settings(deadline=None)
@given(rows)
def test_slices_cover_all_rows_once(items: list[tuple[str, str]]) -> None:
    slices = label_slices(answers(items))
    assert sum(item.metric.n for item in slices) == len(items)
    weighted = sum(item.metric.value * item.metric.n for item in slices) / len(items)
    assert weighted == pytest.approx(METRICS["exact_match"](answers(items)).value)


@settings(deadline=None)
@given(rows)
def test_confusion_agrees_with_sklearn(items: list[tuple[str, str]]) -> None:
    given_answers = answers(items)
    classes, matrix = confusion(given_answers)
    named = [answer if answer in LABELS else INVALID for answer in given_answers.predictions]
    assert (np.array(matrix) == confusion_matrix(given_answers.labels, named, labels=classes)).all()


def test_invalid_answers_are_those_outside_the_closed_set() -> None:
    rate = METRICS["invalid_rate"](answers([("a", "a"), ("a", "b"), ("b", "nonsense"), ("c", "")]))
    assert rate.value == 0.5


def test_latency_percentiles_are_seconds() -> None:
    given_answers = Answers(
        labels=["a"] * 101,
        predictions=["a"] * 101,
        groups=["g"] * 101,
        valid=LABELS,
        seconds=[index / 100 for index in range(101)],
    )
    assert METRICS["latency_p50"](given_answers).value == pytest.approx(0.5)
    assert METRICS["latency_p95"](given_answers).value == pytest.approx(0.95)
    assert METRICS["latency_p95"](given_answers).unit == "seconds"


def test_comparison_counts_wins_and_losses_on_the_same_rows() -> None:
    candidate = answers([("a", "a"), ("a", "a"), ("b", "b"), ("b", "a")])
    baseline = answers([("a", "b"), ("a", "a"), ("b", "c"), ("b", "b")])
    found = compare(candidate, baseline, name="base")
    assert (found.wins, found.losses, found.n) == (2, 1, 4)
    assert found.difference == pytest.approx(0.25)
    assert found.p_value == pytest.approx(1.0)


def test_comparison_of_different_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="the same rows"):
        compare(answers([("a", "a")]), answers([("b", "a")]), name="base")


def test_answers_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        Answers(labels=["a"], predictions=[], groups=["g"], valid=LABELS, seconds=[0.1])
