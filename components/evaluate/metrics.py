"""Metrics of answers that should be one of a closed set of labels.

To add one, write a function from `Answers` to `Metric`, name it in `checks.MetricName` and enter it in `METRICS`: the
report then carries it under that name, and a gate check of kind `min_value` or `max_value` may name it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluate.checks import MetricName
from components.evaluate.intervals import (
    mcnemar_exact,
    paired_difference_interval,
    percentile_interval,
    resample_groups,
    wilson,
)
from tidegate.domain.evaluation import Metric, PairedComparison, SliceMetric

INVALID = "(invalid)"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One model's answers on n rows; all sequences have length n.

    `valid` is the closed set of labels; `groups` are the units of resampling (customers: one customer's rows are not
    independent); `seconds` is how long each answer took, in a batch.
    """

    labels: Sequence[str]
    predictions: Sequence[str]
    groups: Sequence[str]
    valid: Sequence[str]
    seconds: Sequence[float]
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.labels), len(self.predictions), len(self.groups), len(self.seconds)}
        if len(lengths) != 1 or not self.labels:
            raise ValueError(
                f"answers need equally many labels, predictions, groups and times, at least one: {lengths}"
            )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) whether the answer is the label, exactly."""
        return np.array([label == answer for label, answer in zip(self.labels, self.predictions, strict=True)])

    @property
    def invalid(self) -> NDArray[np.bool_]:
        """(n,) whether the answer is outside the closed set."""
        valid = set(self.valid)
        return np.array([answer not in valid for answer in self.predictions])


MetricFunction = Callable[[Answers], Metric]


def exact_match(answers: Answers) -> Metric:
    """Share of answers that are the label, with Wilson's interval."""
    return _share("exact_match", answers.correct)


def invalid_rate(answers: Answers) -> Metric:
    """Share of answers outside the closed set, with Wilson's interval."""
    return _share("invalid_rate", answers.invalid)


def macro_f1(answers: Answers) -> Metric:
    """Unweighted mean of F1 over the labels that occur; interval by bootstrap over groups.

    F1 of a label is 2 TP / (label count + prediction count). An invalid answer is a miss of its label and nobody's
    false positive. A resample averages over the labels that occur in it.
    """
    counts = _label_counts(answers)
    _, codes = np.unique(np.array(answers.groups), return_inverse=True)
    by_group = np.zeros((int(codes.max()) + 1, *counts.shape[1:]))
    np.add.at(by_group, codes, counts)
    weights = resample_groups(len(by_group), seed=answers.seed)
    resampled = np.einsum("bg,gkc->bkc", weights, by_group)
    value = float(_macro_f1(counts.sum(axis=0)[None])[0])
    interval = percentile_interval(_macro_f1(resampled), method="group-bootstrap", around=value)
    return Metric(name="macro_f1", value=value, interval=interval, n=len(answers.labels))


def latency_p50(answers: Answers) -> Metric:
    """Median seconds until an answer of a batch was there."""
    return _latency("latency_p50", answers, 0.50)


def latency_p95(answers: Answers) -> Metric:
    """95th percentile of the seconds until an answer of a batch was there."""
    return _latency("latency_p95", answers, 0.95)


METRICS: dict[MetricName, MetricFunction] = {
    "exact_match": exact_match,
    "macro_f1": macro_f1,
    "invalid_rate": invalid_rate,
    "latency_p50": latency_p50,
    "latency_p95": latency_p95,
}


def measure(answers: Answers) -> tuple[Metric, ...]:
    """All metrics of `METRICS`, in its order."""
    return tuple(function(answers) for function in METRICS.values())


def label_slices(answers: Answers) -> tuple[SliceMetric, ...]:
    """Exact match per label, labels sorted; only labels that occur."""
    correct = answers.correct
    labels = np.array(answers.labels)
    return tuple(
        SliceMetric(slice=str(label), metric=_share("exact_match", correct[labels == label]))
        for label in sorted(set(answers.labels))
    )


def compare(candidate: Answers, baseline: Answers, *, name: str) -> PairedComparison:
    """Exact match of the candidate minus that of a baseline, on the same rows.

    Args:
        candidate, baseline: answers to the same rows in the same order.
        name: 'base', or the key of the version compared with.
    """
    if list(candidate.labels) != list(baseline.labels):
        raise ValueError(f"the rows of the candidate and of {name} differ: a paired comparison needs the same rows")
    ours, theirs = candidate.correct, baseline.correct
    wins = int((ours & ~theirs).sum())
    losses = int((theirs & ~ours).sum())
    return PairedComparison(
        baseline=name,
        metric="exact_match",
        candidate_value=float(ours.mean()),
        baseline_value=float(theirs.mean()),
        difference=float(ours.mean() - theirs.mean()),
        interval=paired_difference_interval(ours, theirs, candidate.groups, seed=candidate.seed),
        wins=wins,
        losses=losses,
        n=len(ours),
        p_value=mcnemar_exact(wins, losses),
    )


def confusion(answers: Answers) -> tuple[list[str], list[list[int]]]:
    """Classes (labels sorted, then `(invalid)` if it occurs) and counts, rows = true label, columns = answer."""
    classes = sorted(set(answers.valid) | set(answers.labels))
    if answers.invalid.any():
        classes.append(INVALID)
    index = {name: position for position, name in enumerate(classes)}
    matrix = [[0] * len(classes) for _ in classes]
    for label, answer in zip(answers.labels, answers.predictions, strict=True):
        column = index.get(answer)
        matrix[index[label]][index[INVALID] if column is None else column] += 1
    return classes, matrix


def _share(name: str, hits: NDArray[np.bool_]) -> Metric:
    return Metric(name=name, value=float(hits.mean()), interval=wilson(int(hits.sum()), len(hits)), n=len(hits))


def _latency(name: str, answers: Answers, quantile: float) -> Metric:
    value = float(np.quantile(np.array(answers.seconds), quantile))
    return Metric(name=name, value=value, n=len(answers.seconds), unit="seconds")


def _label_counts(answers: Answers) -> NDArray[np.float64]:
    """(n, 3, labels): per row whether it is a true positive, has the label, was predicted as the label."""
    index = {name: position for position, name in enumerate(sorted(set(answers.labels)))}
    counts = np.zeros((len(answers.labels), 3, len(index)))
    for row, (label, answer) in enumerate(zip(answers.labels, answers.predictions, strict=True)):
        counts[row, 1, index[label]] = 1
        if answer in index:
            counts[row, 2, index[answer]] = 1
        if answer == label:
            counts[row, 0, index[label]] = 1
    return counts


def _macro_f1(counts: NDArray[Any]) -> NDArray[np.float64]:
    """(batch, 3, labels) counts to (batch,) macro-F1 over the labels with support."""
    positives, support, predicted = counts[:, 0], counts[:, 1], counts[:, 2]
    present = support > 0
    f1 = np.where(present, 2 * positives / np.maximum(support + predicted, 1), 0.0)
    return np.asarray(f1.sum(axis=1) / np.maximum(present.sum(axis=1), 1))
