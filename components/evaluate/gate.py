"""The quality gate: declared checks on what was measured; every check says its value and its limit in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.evaluate.checks import (
    BeatsBase,
    Check,
    GateSpec,
    Inconclusive,
    MaxValue,
    MinRows,
    MinValue,
    NotWorse,
    SliceFloor,
)
from tidegate.domain.base import Interval
from tidegate.domain.evaluation import GateCheck, GateVerdict, Metric, PairedComparison, SliceMetric


def judge(
    spec: GateSpec,
    *,
    metrics: Sequence[Metric],
    slices: Sequence[SliceMetric],
    comparisons: Sequence[PairedComparison],
) -> GateVerdict:
    """The verdict: passed when every check passed, with one sentence a check."""
    checks = tuple(_judge_one(check, metrics, slices, comparisons) for check in spec.checks)
    return GateVerdict(passed=all(check.passed for check in checks), checks=checks)


def _judge_one(
    check: Check,
    metrics: Sequence[Metric],
    slices: Sequence[SliceMetric],
    comparisons: Sequence[PairedComparison],
) -> GateCheck:
    match check:
        case MinRows():
            rows = min((metric.n for metric in metrics), default=0)
            return GateCheck(
                name="min_rows",
                passed=rows >= check.rows,
                reason=f"{rows} test rows were evaluated, at least {check.rows} are needed",
            )
        case MinValue() | MaxValue():
            return _limit(check, next((metric for metric in metrics if metric.name == check.metric), None))
        case BeatsBase():
            return _beats_base(check, next((c for c in comparisons if c.baseline == "base"), None))
        case NotWorse():
            return _not_worse(check, next((c for c in comparisons if c.baseline != "base"), None))
        case SliceFloor():
            return _slice_floor(check, slices)


def _limit(check: MinValue | MaxValue, metric: Metric | None) -> GateCheck:
    name = f"{check.check}:{check.metric}"
    if metric is None:
        return GateCheck(name=name, passed=False, reason=f"{check.metric} was not measured")
    least = isinstance(check, MinValue)
    value, what = metric.value, "value"
    if check.on == "bound":
        if metric.interval is None:
            return GateCheck(name=name, passed=False, reason=f"{check.metric} has no interval to take a bound of")
        value = metric.interval.low if least else metric.interval.high
        what = f"{'lower' if least else 'upper'} {metric.interval.level:.0%} bound"
    # Comparisons with NaN are false, so a NaN never passes.
    passed = value >= check.limit if least else value <= check.limit
    word = "least" if least else "most"
    seconds = " s" if metric.unit == "seconds" else ""
    return GateCheck(
        name=name,
        passed=passed,
        reason=f"{check.metric} has {what} {value:.3f}{seconds} on {metric.n} rows (estimate {metric.value:.3f}), "
        f"at {word} {check.limit:.3f}{seconds} is wanted",
    )


def _beats_base(check: BeatsBase, comparison: PairedComparison | None) -> GateCheck:
    if comparison is None:
        return GateCheck(name="beats_base", passed=False, reason="the untuned base was not evaluated on the same rows")
    passed = _finite(comparison.interval) and comparison.interval.low > check.margin
    return GateCheck(
        name="beats_base",
        passed=passed,
        reason=f"{_difference(comparison)}; the whole interval must lie above {check.margin:+.3f}",
    )


def _not_worse(check: NotWorse, comparison: PairedComparison | None) -> GateCheck:
    if comparison is None:
        return GateCheck(name="not_worse", passed=True, reason="there is no champion to compare with")
    limit = -check.margin
    sentence = _difference(comparison)
    if not _finite(comparison.interval):
        return GateCheck(name="not_worse", passed=False, reason=f"{sentence}: not a number decides nothing")
    if comparison.interval.low > limit:
        return GateCheck(name="not_worse", passed=True, reason=f"{sentence}, wholly above {limit:+.3f}")
    if comparison.interval.high < limit:
        return GateCheck(name="not_worse", passed=False, reason=f"{sentence}, wholly below {limit:+.3f}")
    passed = check.inconclusive == "pass" or (check.inconclusive == "estimate" and comparison.difference >= limit)
    return GateCheck(
        name="not_worse",
        passed=passed,
        reason=f"{sentence}, which reaches across {limit:+.3f}: {comparison.n} rows are too few to tell, decided "
        f"{_decider(check.inconclusive)} {'for' if passed else 'against'} the candidate",
    )


def _slice_floor(check: SliceFloor, slices: Sequence[SliceMetric]) -> GateCheck:
    judged = [item for item in slices if item.metric.n >= check.rows]
    low = [item for item in judged if not _above_floor(check, item.metric)]
    if not low:
        reason = f"{len(judged)} of {len(slices)} labels have at least {check.rows} rows, none is "
        reason += {"estimate": "", "pass": "surely ", "fail": "or may be "}[check.inconclusive]
        return GateCheck(name="slice_floor", passed=True, reason=f"{reason}below {check.floor:.3f} in exact match")
    names = ", ".join(f"{item.slice} {_refused(check, item.metric)}" for item in low)
    return GateCheck(
        name="slice_floor", passed=False, reason=f"exact match does not reach the floor {check.floor:.3f} for {names}"
    )


def _above_floor(check: SliceFloor, metric: Metric) -> bool:
    """Whether a label passes. Comparisons with NaN are false, so a NaN never does."""
    if check.inconclusive == "estimate":
        return metric.value >= check.floor
    if metric.interval is None:
        return False
    return (metric.interval.low if check.inconclusive == "fail" else metric.interval.high) >= check.floor


def _refused(check: SliceFloor, metric: Metric) -> str:
    """A label's value, and where its rows leave the question open, what decided."""
    value = f"{metric.value:.3f} on {metric.n} rows"
    if metric.interval is None:
        return f"{value} without an interval"
    text = f"{value}, interval [{metric.interval.low:.3f}, {metric.interval.high:.3f}]"
    if not metric.interval.high >= check.floor:
        return text
    return f"{text}: too few rows to tell, decided {_decider(check.inconclusive)}"


def _decider(inconclusive: Inconclusive) -> str:
    return "by its estimate" if inconclusive == "estimate" else f"by 'inconclusive: {inconclusive}'"


def _difference(comparison: PairedComparison) -> str:
    return (
        f"{comparison.metric} differs from {comparison.baseline} by {comparison.difference:+.3f} on {comparison.n} "
        f"rows, interval [{comparison.interval.low:+.3f}, {comparison.interval.high:+.3f}]"
    )


def _finite(interval: Interval) -> bool:
    return math.isfinite(interval.low) and math.isfinite(interval.high)
