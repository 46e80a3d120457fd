"""Whole rollouts by the functions that judge real ones, fed with arrays instead of events.

What is vectorised is the counting: requests to blocks, blocks to strata, users to first requests. The tests themselves
are those of `serving/rollout/statistics`. tests/unit/rollout/test_bench_agrees.py sends the same traffic as events and
windows through `judge` and finds the same verdicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import paired
from serving.rollout.verdicts import harm_alpha, promotion_alpha
from tests.bench.rollouts.tally import Schedule, Tally, first_rows
from tests.bench.rollouts.traffic import Floats, Ints, Traffic
from tidegate.domain.resources import RolloutPlan

_SCORE_DELAY = 20.0
"""Mean seconds until a pair is scored."""


@dataclass(frozen=True)
class Pairs:
    """Scored pairs in order of arrival: when, and candidate minus stable."""

    time: Floats
    difference: Floats
    user: Ints


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended: harm by which metric and when, else promotion or not.

    Attributes:
        pairs: scored when it ended.
        exposed: users' requests that the candidate had answered.
    """

    harm: str | None
    seconds: float
    promoted: bool
    pairs: int
    exposed: int


def pairs_of(traffic: Traffic, mirror_percent: float, rng: np.random.Generator) -> Pairs:
    """The first mirrored request of every user, scored a little later; a failed answer is a wrong one."""
    taken = np.flatnonzero(rng.random(len(traffic.user)) < mirror_percent / 100)
    taken = taken[first_rows(traffic.user[taken], len(traffic.place))]
    right = traffic.right[:, taken] & ~traffic.fails[:, taken]
    arrives = traffic.time[taken] + rng.exponential(_SCORE_DELAY, len(taken))
    order = np.argsort(arrives, kind="stable")
    difference = right[1].astype(np.float64) - right[0]
    return Pairs(arrives[order], difference[order], traffic.user[taken][order])


def schedule(plan: RolloutPlan, pairs: Pairs, horizon: float) -> Schedule:
    """When each step ends by its pairs and its time, and when the gate of the first metric passes."""
    metric = plan.metrics[0]
    series = PairedSeries(pairs.difference, 0.0, 0.0, binary=True)
    margin = float(metric.max_drop_points or 0) / 100
    gate = paired.non_inferiority(series, margin, promotion_alpha(plan), plan.max_pairs)
    begins, at = [], 0.0
    for step in plan.steps:
        begins.append(at)
        position = int(np.searchsorted(pairs.time, at)) + step.min_pairs
        collected = pairs.time[position - 1] if position <= len(pairs.time) else math.inf
        at = max(at + step.min_duration_seconds, float(collected) if step.min_pairs else at)
    passes = float(pairs.time[gate.passed_at - 1]) if gate.passed_at is not None else math.inf
    ends = max(at, passes)
    passed = ends <= horizon
    return Schedule(
        tuple(begins), min(ends, horizon), passed, int(np.searchsorted(pairs.time, min(ends, horizon), side="right"))
    )


def run(plan: RolloutPlan, traffic: Traffic, mirror_percent: float, rng: np.random.Generator) -> Outcome:
    """One rollout, from its first mirrored turn to promotion, rollback or the end of the traffic."""
    horizon = float(traffic.time[-1])
    pairs = pairs_of(traffic, mirror_percent, rng)
    plan_of_time = schedule(plan, pairs, horizon)
    blocks = Tally(plan, traffic, plan_of_time)
    found = harms(plan, pairs, plan_of_time, blocks)
    name, when = min(found.items(), key=lambda item: item[1])
    harmed = math.isfinite(when) and when <= plan_of_time.ends
    ends = when if harmed else plan_of_time.ends
    return Outcome(
        harm=name if harmed else None,
        seconds=ends,
        promoted=plan_of_time.passed and not harmed,
        pairs=int(np.searchsorted(pairs.time, ends, side="right")),
        exposed=int(np.count_nonzero(blocks.on_candidate & (blocks.time <= ends))),
    )


def harms(plan: RolloutPlan, pairs: Pairs, times: Schedule, tally: Tally) -> dict[str, float]:
    """When each metric of the plan was found to be harmed, in seconds; infinity for never.

    The tolerance is looked at when the test crosses and at every look after it, as the controller does.
    """
    alpha = harm_alpha(plan)
    found: dict[str, float] = {}
    for metric in plan.metrics:
        if metric.comparison == "Paired":
            margin = float(metric.max_drop_points or 0) / 100
            found[metric.name] = _paired_harm(pairs.difference[: times.pairs], pairs.time, alpha, plan, margin)
        elif metric.name == "error-rate":
            margin = float(metric.max_increase_points or 0) / 100
            found[metric.name] = tally.error_harm(plan, alpha, margin)
        else:
            found[metric.name] = tally.latency_harm(alpha, (metric.max_increase_percent or 0) / 100)
            if metric.ceiling_milliseconds is not None:
                ceiling = tally.ceiling_harm(alpha, metric.ceiling_milliseconds / 1000)
                found[f"{metric.name} ceiling"] = ceiling
    return found


def _paired_harm(difference: Floats, time: Floats, alpha: float, plan: RolloutPlan, margin: float) -> float:
    if not len(difference):
        return math.inf
    at = paired.harm(PairedSeries(difference, 0.0, 0.0, binary=True), alpha, plan.max_pairs).crossed_at
    if at is None:
        return math.inf
    losses = -np.cumsum(difference) / np.arange(1, len(difference) + 1)
    late = np.flatnonzero(losses[at - 1 :] >= margin)
    return float(time[at - 1 + late[0]]) if len(late) else math.inf
