"""Preflight: what holds a rollout before any request goes to the candidate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from serving.rollout.preflight import Candidate, Situation, preflight
from tests.unit.rollout.builders import plan, runtime, version

AROUND = Situation(
    runtime=runtime(),
    stable=version("1"),
    measured=frozenset({"exact-match", "error-rate"}),
    pairs_per_second=5.0,
)


def reasons(candidate: Candidate, around: Situation = AROUND, **changes: object) -> list[str]:
    return [check.reason for check in preflight(plan(**changes), candidate, around).problems]


def test_a_sound_plan_passes_and_says_how_long_it_takes() -> None:
    result = preflight(plan(), Candidate(version("2")), AROUND)
    assert result.passed
    assert result.forecast is not None
    assert result.forecast.pairs_expected is not None
    assert result.forecast.seconds == pytest.approx(result.forecast.pairs_expected / 5)
    assert "pairs per second" in result.forecast.message


def test_a_signature_that_does_not_verify_stops_the_rollout() -> None:
    assert reasons(Candidate(version("2"), "the signature is not ours")) == ["AttestationInvalid"]


def test_a_failed_gate_stops_the_rollout_and_an_override_is_loud() -> None:
    assert reasons(Candidate(version("2", gate=False))) == ["GateNotPassed"]
    overridden = preflight(plan(), Candidate(version("2", gate=False, override="ada")), AROUND)
    assert overridden.passed
    assert [warning.reason for warning in overridden.warnings] == ["GateOverridden"]
    assert "ada overrode" in overridden.warnings[0].message


def test_what_the_engine_cannot_hold_is_refused() -> None:
    assert reasons(Candidate(version("2", rank=64))) == ["RankTooHigh"]
    assert reasons(Candidate(version("2")), replace(AROUND, base_digest="sha256:" + "1" * 64)) == ["BaseDiffers"]
    assert reasons(Candidate(version("2")), replace(AROUND, runtime=runtime(maxAdapters=1))) == ["NoFreeSlot"]


def test_a_metric_that_the_stable_version_does_not_emit_is_refused() -> None:
    assert reasons(Candidate(version("2")), replace(AROUND, measured=frozenset({"error-rate"}))) == ["MetricAbsent"]


def test_a_plan_that_cannot_decide_is_refused() -> None:
    equal = Candidate(version("2", difference=0.0))
    tight = [{"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "2"}]
    assert reasons(equal, metrics=tight) == ["Underpowered"]
    assert reasons(equal, metrics=tight, maxPairs=20000, deadlineSeconds=86400) == []


def test_a_plan_that_is_too_slow_for_its_deadline_is_refused() -> None:
    assert reasons(Candidate(version("2")), replace(AROUND, pairs_per_second=0.01)) == ["Underpowered"]


def test_a_plan_expects_what_the_attested_comparison_says() -> None:
    """A much worse version is allowed in: few pairs suffice to show it."""
    worse = preflight(plan(), Candidate(version("2", difference=-0.4)), AROUND)
    assert worse.forecast is not None
    assert worse.forecast.pairs_expected is not None
    assert worse.forecast.pairs_expected <= 80


def test_side_by_side_metrics_need_a_step_with_both_arms() -> None:
    steps = [{"name": "shadow", "weight": 0, "minPairs": 40}, {"name": "all", "weight": 100}]
    assert reasons(Candidate(version("2")), steps=steps) == ["Underpowered"]


def test_steps_that_wait_for_pairs_that_never_come_are_refused() -> None:
    errors = [{"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "0.5"}]
    assert reasons(Candidate(version("2")), metrics=errors) == ["Underpowered"]
    assert reasons(Candidate(version("2")), mirror={"percent": 0}) == ["Underpowered"]


@pytest.mark.parametrize(
    "changes",
    [
        {"errorBudget": {"falsePromotionPercent": "0"}},
        {"errorBudget": {"falsePromotionPercent": "200"}},
        {"errorBudget": {"falseRollbackPercent": "-1"}},
        {"maxPairs": 1_000_000},
        {"metrics": [{"name": "x", "mode": "NoHarm", "comparison": "Paired", "maxDropPoints": "100"}]},
    ],
)
def test_numbers_that_no_test_can_work_with_are_refused_with_the_plan(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        plan(**changes)


def test_a_first_version_is_not_compared() -> None:
    first = Situation(runtime=runtime())
    assert preflight(plan(), Candidate(version("1")), first).forecast is None
