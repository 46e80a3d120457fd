"""Every kind of bad evidence for every metric: nothing is promoted, and by the deadline it is paused or rolled back."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from serving.rollout.preflight import Situation
from tests.unit.rollout.builders import BOUNDS, START, evidence, pairs, plan, runtime, version, window
from tests.unit.rollout.test_decide import World
from tidegate.domain.evidence import ArmWindow, PairEvent
from tidegate.domain.routing import Role

ROLES: tuple[Role, Role] = ("stable", "candidate")
METRICS: dict[str, dict[str, Any]] = {
    "exact-match": {"mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"},
    "length-ratio": {"mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"},  # graded
    "valid-label": {"mode": "NoHarm", "comparison": "Paired", "maxDropPoints": "5"},
    "error-rate": {"mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "0.5"},
    "ttft-p95": {
        "mode": "NoHarm",
        "comparison": "Concurrent",
        "maxIncreasePercent": 20,
        "ceilingMilliseconds": 800,
    },
    "latency-p95": {"mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePercent": 20},
}
_DEADLINE = 300
_ROUND = 10.0


class Trial(World):
    """A rollout of one metric, driven to its last step on little but sound evidence."""

    def __init__(self, metric: str, on_inconclusive: str = "Pause") -> None:
        self.metric = metric
        self.paired = METRICS[metric]["comparison"] == "Paired"
        asked = 4 if self.paired else 0
        steps = [
            {"name": "shadow", "weight": 0, "minPairs": asked},
            {"name": "half", "weight": 50, "minPairs": asked, "minDurationSeconds": 5},
        ]
        super().__init__(
            plan=plan(
                steps=steps,
                metrics=[{"name": metric} | METRICS[metric]],
                deadlineSeconds=_DEADLINE,
                maxPairs=2000,
                onInconclusive=on_inconclusive,
            ),
            situation=Situation(runtime=runtime(), stable=version("1"), measured=frozenset(METRICS)),
        )
        self.until("Shadow")
        self.sound(0)
        self.until("Step")
        self.tick()

    @property
    def step(self) -> str:
        attempt = self.state.attempt
        return attempt.current.name if attempt is not None and attempt.current is not None else "shadow"

    def add(self, outcomes: str, **changes: Any) -> None:
        """Scored pairs of now."""
        graded = {"+": (0.2, 0.9), "=": (0.5, 0.5)}
        for event in pairs(outcomes, self.step, scorer=self.metric, first=len(self.events)):
            made: dict[str, Any] = {"time": self.now}
            if self.metric == "length-ratio":
                stable, candidate = graded.get(outcomes[0], (event.stable_score, event.candidate_score))
                made |= {"stable_score": stable, "candidate_score": candidate}
            self.events.append(PairEvent.model_construct(**(event.model_dump() | made | changes)))

    def block(self, role: Role, requests: int, blocks_ago: int = 0, **changes: Any) -> None:
        """A closed block of one arm: the newest, or one before it."""
        second = (self.now - START).total_seconds() - 10 - 5 * blocks_ago
        made = window(role, requests, step=self.step, second=second)
        self.windows.append(made.model_copy(update=changes))

    def sound(self, requests: int) -> None:
        """Sound evidence, by far too little for a pass."""
        if self.paired:
            self.add("=" * 4)
        else:
            self.block("stable", 5)
            if requests:
                self.block("candidate", requests)


Fault = Callable[[Trial], dict[str, Any]]
"""Adds a round's evidence; returns what the controller sees otherwise than usual."""
_SILENT: dict[str, Any] = {}


def not_a_number(trial: Trial, value: float = math.nan) -> dict[str, Any]:
    if not trial.paired:  # counts that are no numbers are refused when they are read: see below
        return unreadable(trial)
    trial.add("=" * 10, stable_score=value, candidate_score=value)
    trial.add("=" * 10, candidate_score=value)
    return _SILENT


def infinite(trial: Trial) -> dict[str, Any]:
    return not_a_number(trial, math.inf)


def empty(trial: Trial) -> dict[str, Any]:
    trial.events, trial.windows = [], []
    return _SILENT


def stale(trial: Trial) -> dict[str, Any]:
    return _SILENT


def partial(trial: Trial) -> dict[str, Any]:
    """Scores of one version only; requests of one arm only."""
    if trial.paired:
        trial.add("c" * 10)
    else:
        trial.block("stable", 30)
    return _SILENT


def without_samples(trial: Trial) -> dict[str, Any]:
    """Pairs that no scorer can score; requests whose latency nobody measured, and of which it is not known how they
    ended."""
    if trial.paired:
        trial.add("?" * 10)
        return _SILENT
    for role in ROLES:
        none = (0,) * (len(BOUNDS) + 1)
        trial.block(role, 0 if trial.metric == "error-rate" else 30, latency_counts=none, ttft_counts=none)
    return _SILENT


def counter_reset(trial: Trial) -> dict[str, Any]:
    """A scorer that starts again scores the same pairs again; a gateway counts the same block again, from zero."""
    if trial.paired:
        trial.events += [event.model_copy(update={"time": trial.now}) for event in trial.events[:4]]
        return _SILENT
    trial.windows = trial.windows[:1]
    for role in ROLES:
        trial.block(role, int(trial.now.timestamp()) % 15)
    return _SILENT


def unreadable(trial: Trial, problem: str = "the database does not answer") -> dict[str, Any]:
    trial.sound(10)
    return {"evidence_known": False, "evidence": evidence(), "trouble": problem, "situation": None}


def http_500(trial: Trial) -> dict[str, Any]:
    return unreadable(trial, "it answers 500: Internal Server Error")


def timeout(trial: Trial) -> dict[str, Any]:
    return unreadable(trial, "it did not answer within 5 s")


def html(trial: Trial) -> dict[str, Any]:
    return unreadable(trial, "its answer is not understood: <!doctype html>")


def zero_traffic(trial: Trial) -> dict[str, Any]:
    """Gateways report in time that nobody asked anything."""
    for role in ROLES:
        trial.block(role, 0)
    return _SILENT


FAULTS: tuple[Fault, ...] = (
    not_a_number,
    infinite,
    empty,
    stale,
    partial,
    without_samples,
    counter_reset,
    http_500,
    timeout,
    html,
    zero_traffic,
)


@pytest.mark.parametrize("on_inconclusive", ["Pause", "Rollback"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_bad_evidence_promotes_nothing_and_ends_at_the_deadline(
    fault: Fault, metric: str, on_inconclusive: Literal["Pause", "Rollback"]
) -> None:
    trial = Trial(metric, on_inconclusive)
    began = trial.now
    while trial.state.phase == "Step":
        seen = fault(trial)
        trial.tick(_ROUND, **seen)
        assert trial.now - began <= timedelta(seconds=_DEADLINE + _ROUND), trial.state.message
    assert (trial.state.stable, max(trial.weights)) == ("1", 50.0)
    if on_inconclusive == "Pause":
        assert trial.state.phase == "Paused"
        assert "tidegate rollout" in trial.state.message
    else:
        trial.until("RolledBack")
        assert trial.weights[-1] == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_trial_on_good_evidence_promotes(metric: str) -> None:
    trial = Trial(metric)
    for _ in range(25):
        if trial.paired:
            trial.add("+" * 10)
        for role in ROLES:
            trial.block(role, 10)
        trial.tick(_ROUND)
    assert trial.state.stable == "2", trial.state.message


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("metric", [name for name in METRICS if METRICS[name]["comparison"] == "Concurrent"])
def test_a_concurrent_metric_that_one_version_stops_emitting_is_no_pass(metric: str, role: Role) -> None:
    """Enough requests for "no harm found" were seen, and then it is not known any more how they end."""
    trial = Trial(metric)
    for blocks_ago in range(6):
        for each in ROLES:
            trial.block(each, 10, blocks_ago)
    none = (0,) * (len(BOUNDS) + 1)
    trial.now += timedelta(seconds=121)
    while trial.state.phase == "Step":
        for each in ROLES:
            if each != role:
                trial.block(each, 30)
            elif metric != "error-rate":
                trial.block(each, 30, latency_counts=none, ttft_counts=none)
        trial.tick(_ROUND)
    assert (trial.state.phase, trial.state.reason) == ("Paused", "DeadlinePassed")


def test_a_concurrent_metric_that_has_stopped_is_named() -> None:
    trial = Trial("error-rate")
    for role in ROLES:
        trial.block(role, 30)
    trial.now += timedelta(seconds=121)
    trial.block("stable", 30)
    trial.tick()
    assert trial.state.reason == "EvidenceStale"
    assert "No new evidence of error-rate from every version with users" in trial.state.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 2.5, None, "12", 1.0000001])
@pytest.mark.parametrize("field", ["requests", "errors", "latency_counts", "ttft_counts"])
def test_counts_that_are_no_counts_are_refused_where_they_are_read(field: str, value: Any) -> None:
    row = window("stable", 5).model_dump()
    with pytest.raises(ValidationError):
        ArmWindow.model_validate(row | {field: (value,) if field.endswith("counts") else value}, strict=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_scores_that_are_no_scores_are_refused_where_they_are_read(value: float) -> None:
    row = pairs("=")[0].model_dump()
    for side in ("stable_score", "candidate_score"):
        with pytest.raises(ValidationError):
            PairEvent.model_validate(row | {side: value})
