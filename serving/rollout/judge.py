"""Plan and evidence to verdicts: a pure function, cheap enough to be asked twice a second."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from serving.rollout.blocks import Block, Counts, add_up, blocks, counts_users, of_users, strata
from serving.rollout.evidence import Evidence, PairedSeries, SeriesBuilder
from serving.rollout.statistics import concurrent, confidence, paired, users
from serving.rollout.statistics.betting import PRIOR_SQUARE
from serving.rollout.verdicts import (
    Judgement,
    MetricVerdict,
    Outcome,
    harm_alpha,
    planned_pairs,
    promotion_alpha,
)
from tidegate.domain.resources import RolloutMetric, RolloutPlan

MIN_CONCURRENT_REQUESTS = 20
"""Requests of each arm, side by side, below which "no harm found" would say nothing about errors or latency."""
_MANY_UNSCORED = 20
"""Pairs without any score from which, when they outnumber the scored ones, a metric counts as not measured."""


def judge(plan: RolloutPlan, evidence: Evidence, now: datetime | None = None, *, rollout: str = "") -> Judgement:
    """The verdict of every metric of the plan.

    Args:
        now: decides which blocks are closed; None takes the newest block's start.
        rollout: its id; boundaries are remembered by it between calls.
    """
    closed = blocks(evidence.windows, now)
    baseline = add_up([window for window in evidence.baseline if window.role == "stable"])
    verdicts = []
    series_units: list[int] = []
    by_step: dict[str, int] = {}
    for metric in plan.metrics:
        if metric.comparison == "Paired":
            series = _builder(rollout, metric.name, metric.unit == "User").series(evidence.pair_events)
            if not series_units or series.units < min(series_units):
                by_step = series.by_step
            series_units.append(series.units)
            verdict = _paired(plan, metric, series, f"{rollout}/{metric.name}")
            differences, square = series.differences, PRIOR_SQUARE
        else:
            verdict = _concurrent(plan, metric, closed, baseline, evidence, f"{rollout}/{metric.name}")
            tables = _tables(metric, closed, baseline, evidence) if plan.purpose == "Experiment" else []
            differences, square = confidence.of_strata(tables), confidence.MARK_SQUARE
        if plan.purpose == "Experiment":
            verdict = _estimated(verdict, confidence.remembered(f"{rollout}/{metric.name}", differences, square))
        verdicts.append(verdict)
    return Judgement(
        verdicts=tuple(verdicts),
        pairs=min(series_units, default=0),
        pairs_by_step=by_step,
        watermark=evidence.watermark(),
    )


@lru_cache(maxsize=256)
def _builder(rollout: str, metric: str, per_user: bool) -> SeriesBuilder:
    return SeriesBuilder(metric, per_user=per_user)


# --- experiments -----------------------------------------------------------------------------------------------------


def _estimated(verdict: MetricVerdict, interval: confidence.Interval) -> MetricVerdict:
    numbers = {
        "difference_low_points": round(100 * interval.low, 4),
        "difference_high_points": round(100 * interval.high, 4),
    }
    return verdict.model_copy(update={"numbers": verdict.numbers | numbers})


def _tables(metric: RolloutMetric, closed: list[Block], baseline: Counts, evidence: Evidence) -> list[concurrent.Table]:
    """What an experiment estimates: failed first requests, or answers slower than the stable version's quantile."""
    compared = strata(closed, users=metric.unit == "User" and counts_users(closed))
    latency = concurrent.parse_latency(metric.name)
    if latency is None:
        return concurrent.error_tables(compared)
    return concurrent.slow_tables(compared, latency, 0.0, evidence.bounds, baseline)


# --- paired ----------------------------------------------------------------------------------------------------------


def _paired(plan: RolloutPlan, metric: RolloutMetric, series: PairedSeries, key: str) -> MetricVerdict:
    margin = float(metric.max_drop_points or 0) / 100
    alpha = harm_alpha(plan)
    harm = paired.harm(series, alpha, plan.max_pairs, key=key)
    numbers = _paired_numbers(series, harm, margin)
    counts = (
        f"{series.losses} losses and {series.wins} wins in {series.units} pairs "
        f"({100 * series.candidate_mean:.1f}% against {100 * series.stable_mean:.1f}%)"
    )
    outcome: Outcome
    unfair = _no_fair_sample(metric, series, key)
    if harm.crossed_at is not None and -series.mean >= margin:
        outcome = "Harm"
        reason = f"{metric.name} is worse: {counts}; chance explains that in less than {alpha:.2%} of rollouts"
    elif unfair is not None:
        outcome, reason = "Inconclusive", unfair
    elif metric.mode == "NonInferiority":
        outcome, reason = _gate(plan, metric, series, margin, numbers)
    else:
        planned = max(1, planned_pairs(plan))
        numbers["planned_pairs"] = float(planned)
        outcome = "NoHarmFound" if series.units >= planned else "Inconclusive"
        reason = f"{metric.name}: no harm found, {series.units} of {planned} planned pairs seen"
    if outcome != "Harm" and unfair is None:
        reason = f"{reason}: {counts}"
    return MetricVerdict(metric=metric.name, mode=metric.mode, outcome=outcome, reason=reason, numbers=numbers)


def _paired_numbers(series: PairedSeries, harm: paired.Harm, margin: float) -> dict[str, float]:
    numbers = {
        "pairs": float(series.units),
        "wins": float(series.wins),
        "losses": float(series.losses),
        "stable_mean": round(series.stable_mean, 6),
        "candidate_mean": round(series.candidate_mean, 6),
        "difference_points": round(100 * series.mean, 4),
        "margin_points": round(100 * margin, 4),
        "unscored": float(series.unscored),
        "repeated_users": float(series.repeated),
    }
    optional = {"losses_for_harm": harm.needed, "harm_e_value": harm.e_value, "harm_at_pair": harm.crossed_at}
    return numbers | {name: float(value) for name, value in optional.items() if value is not None}


def _no_fair_sample(metric: RolloutMetric, series: PairedSeries, key: str) -> str | None:
    """Why what was scored must not decide a promotion; None when it may."""
    side = paired.one_sided_missing(series, key=key)
    if side is not None:
        other = "stable" if side == "candidate" else "candidate"
        said = f"{metric.name}: the {side} version's scores are missing more often than the {other} version's"
        return f"{said}, so the pairs that are left are no fair sample"
    if series.unscored >= _MANY_UNSCORED and series.unscored > series.units:
        return f"{metric.name}: {series.unscored} pairs have no score yet, only {series.units} have"
    return None


def _gate(
    plan: RolloutPlan, metric: RolloutMetric, series: PairedSeries, margin: float, numbers: dict[str, float]
) -> tuple[Outcome, str]:
    if margin == 0:
        return "Inconclusive", f"{metric.name} has no margin, so it cannot be shown to be kept"
    alpha = promotion_alpha(plan)
    test = paired.non_inferiority(series, margin, alpha, plan.max_pairs)
    numbers["non_inferiority_e_value"] = round(test.e_value, 4)
    numbers["e_value_needed"] = round(1 / alpha, 4)
    if test.passed_at is None:
        return "Inconclusive", f"{metric.name} is not decided"
    numbers["passed_at_pair"] = float(test.passed_at)
    return "NonInferior", f"{metric.name} is at most {100 * margin:g} points worse, shown at pair {test.passed_at}"


# --- concurrent ------------------------------------------------------------------------------------------------------


def _concurrent(
    plan: RolloutPlan, metric: RolloutMetric, closed: list[Block], baseline: Counts, evidence: Evidence, key: str
) -> MetricVerdict:
    alpha = harm_alpha(plan)
    latency = concurrent.parse_latency(metric.name)
    by_user = metric.unit == "User" and counts_users(closed)
    if latency is None:
        return _error_rate(plan, metric, closed, alpha, key, by_user=by_user)
    increase = (metric.max_increase_percent or 0) / 100
    compared = strata(closed, users=by_user)
    tables = concurrent.slow_tables(compared, latency, increase, evidence.bounds, baseline)
    test = concurrent.compare(tables, alpha, key=key)
    numbers = _numbers(test)
    tail = f"{100 * (1 - latency.quantile):.0f}%"
    if metric.ceiling_milliseconds is not None:
        ceiling = metric.ceiling_milliseconds / 1000
        crossed, slow, seen = concurrent.over_ceiling(
            _units(closed, by_user=by_user), latency, ceiling, evidence.bounds, alpha, f"{key}/ceiling"
        )
        numbers |= {"over_ceiling": float(slow), "ceiling_requests": float(seen)}
        if crossed is not None:
            reason = (
                f"{metric.name} is above its ceiling of {metric.ceiling_milliseconds} ms: {slow} of {seen} requests of "
                f"the candidate took longer, {tail} may"
            )
            return MetricVerdict(metric=metric.name, mode=metric.mode, outcome="Harm", reason=reason, numbers=numbers)
    counts = (
        f"{test.candidate_marked} of {test.candidate_requests} requests of the candidate were slower than the stable "
        f"version's {metric.name} plus {metric.max_increase_percent or 0}%, against {test.stable_marked} of "
        f"{test.stable_requests} stable ones above it"
    )
    if test.crossed is not None and test.difference > 0:
        return MetricVerdict(
            metric=metric.name,
            mode=metric.mode,
            outcome="Harm",
            reason=f"{metric.name} is worse: {counts}",
            numbers=numbers,
        )
    return _no_harm(metric, test, counts, numbers)


def _units(closed: list[Block], *, by_user: bool) -> list[Block]:
    return [of_users(block) for block in closed] if by_user else closed


def _error_rate(
    plan: RolloutPlan, metric: RolloutMetric, closed: list[Block], alpha: float, key: str, *, by_user: bool
) -> MetricVerdict:
    """Harm needs two things: users who fail are the candidate's too often, and its requests fail too often."""
    test = concurrent.compare(concurrent.error_tables(strata(closed, users=False)), alpha, key=key)
    numbers = _numbers(test)
    crossed = test.crossed is not None
    if by_user:
        odds = users.odds([(step.name, step.weight) for step in plan.steps])
        failed = users.failed_users(closed, odds, alpha, key=f"{key}/users")
        crossed = failed.crossed is not None
        numbers |= {
            "candidate_failed_users": float(failed.candidate),
            "stable_failed_users": float(failed.stable),
        }
    margin = float(metric.max_increase_points or 0) / 100
    counts = (
        f"{test.candidate_marked} of {test.candidate_requests} requests of the candidate failed, against "
        f"{test.stable_marked} of {test.stable_requests} stable ones at the same time"
    )
    if crossed and test.difference > margin:
        return MetricVerdict(
            metric=metric.name,
            mode=metric.mode,
            outcome="Harm",
            reason=f"{metric.name} is worse by more than {100 * margin:g} points: {counts}",
            numbers=numbers,
        )
    return _no_harm(metric, test, counts, numbers)


def _no_harm(
    metric: RolloutMetric, test: concurrent.Comparison, counts: str, numbers: dict[str, float]
) -> MetricVerdict:
    enough = min(test.candidate_requests, test.stable_requests) >= MIN_CONCURRENT_REQUESTS
    if enough:
        reason = f"{metric.name}: no harm found: {counts}"
    else:
        reason = (
            f"{metric.name}: too few requests side by side ({MIN_CONCURRENT_REQUESTS} of each arm needed): {counts}"
        )
    outcome: Outcome = "NoHarmFound" if enough else "Inconclusive"
    return MetricVerdict(metric=metric.name, mode=metric.mode, outcome=outcome, reason=reason, numbers=numbers)


def _numbers(test: concurrent.Comparison) -> dict[str, float]:
    return {
        "candidate_requests": float(test.candidate_requests),
        "stable_requests": float(test.stable_requests),
        "candidate_marked": float(test.candidate_marked),
        "stable_marked": float(test.stable_marked),
        "difference_points": round(100 * test.difference, 4),
    }
