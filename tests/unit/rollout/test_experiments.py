"""Experiments: the same protection, an estimate at the end, and nothing promoted."""

from __future__ import annotations

import numpy as np
import pytest

from serving.controller.facts import facts
from serving.rollout.explain import explain
from serving.rollout.judge import judge
from serving.rollout.preflight import Candidate, preflight
from serving.rollout.statistics.concurrent import Table
from serving.rollout.statistics.confidence import MARK_SQUARE, of_strata, sequence
from tests.unit.rollout.builders import evidence, pairs, plan, seen, version, window
from tests.unit.rollout.test_decide import World, person

EXPERIMENT = plan(purpose="Experiment")


def concluded() -> World:
    world = World(plan=EXPERIMENT)
    world.until("Shadow")
    for _ in range(30):
        if world.state.phase == "RolledBack":
            break
        world.answer("+=-=" * 5)
        world.tick(3)
        world.tick(3)
    return world


def test_an_experiment_ends_with_all_users_on_the_stable_version_and_an_estimate_on_record() -> None:
    world = concluded()
    assert (world.state.phase, world.state.reason) == ("RolledBack", "ExperimentConcluded")
    assert (world.state.stable, world.state.weight) == ("1", 0.0)
    assert world.weights == [0.0, 0.0, 10.0, 50.0, 0.0]
    assert world.state.rejected == {}
    assert world.state.attempt is not None
    assert world.state.attempt.passed is None
    assert "exact-match differs by " in (world.state.attempt.concluded or "")
    judgement = world.state.attempt.judgement
    assert judgement is not None
    for verdict in judgement.verdicts:
        low, high = verdict.numbers["difference_low_points"], verdict.numbers["difference_high_points"]
        assert low <= verdict.numbers["difference_points"] <= high


def test_the_estimate_of_an_experiment_goes_into_the_ledger_as_a_decision() -> None:
    state = concluded().state
    settled = [draft for draft in facts("d", state, state.history) if draft.kind == "rollout.decision"]
    assert [draft.payload["reason"] for draft in settled][-1] == "ExperimentConcluded"
    assert settled[-1].payload["judgement"]["verdicts"]


def test_a_concluded_experiment_is_not_repeated_but_may_be_followed_by_a_promotion() -> None:
    world = concluded()
    for _ in range(3):
        world.tick(3)
    assert world.state.reason == "ExperimentConcluded"
    world.tick(1, trouble="the registry does not answer", nominated=None)
    world.tick(1)
    assert world.state.phase == "RolledBack"
    world.changes["plan"] = plan()
    world.tick(1)
    assert (world.state.phase, world.state.reason) == ("Preflight", "Nominated")


def test_an_experiment_can_be_asked_for_again() -> None:
    world = concluded()
    world.tick(1, operator=(person("resume"),))
    assert (world.state.phase, world.state.reason) == ("Preflight", "Retried")


def test_another_version_starts_a_rollout_after_an_experiment() -> None:
    world = concluded()
    world.nominated = "3"
    world.tick(1)
    assert world.state.phase == "Preflight"


def test_harm_ends_an_experiment_like_any_rollout() -> None:
    world = World(plan=EXPERIMENT)
    world.until("Shadow")
    world.answer("-=-=" * 10)
    world.tick()
    assert world.state.reason == "HarmFound"
    assert "2" in world.state.rejected


def test_an_experiment_waits_for_no_gate() -> None:
    small = plan(purpose="Experiment", maxPairs=100)
    found = preflight(small, Candidate(version("2", difference=0.0)), seen("2").situation)  # type: ignore[arg-type]
    assert found.passed
    refused = preflight(plan(maxPairs=100), Candidate(version("2", difference=0.0)), seen("2").situation)  # type: ignore[arg-type]
    assert not refused.passed


def test_the_explanation_says_that_it_was_an_experiment_and_what_came_of_it() -> None:
    said = explain(concluded().state)
    assert "was an experiment with version 2, and has ended" in said
    assert "points (95% at any look)" in said
    assert "rolled back" not in said


def test_a_promotion_is_judged_without_estimates() -> None:
    judged = judge(plan(), evidence(pairs("+=-=" * 20)))
    assert "difference_low_points" not in judged.verdicts[0].numbers


def test_latencies_are_estimated_as_shares_above_the_stable_quantile() -> None:
    latency = {"name": "latency-p95", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePercent": 50}
    windows = [
        made
        for i in range(60)
        for made in (
            window("candidate", 20, second=5 * i, latency=(14, 4, 2, 0, 0, 0)),
            window("stable", 20, second=5 * i, latency=(19, 1, 0, 0, 0, 0)),
        )
    ]
    judged = judge(plan(purpose="Experiment", metrics=[latency]), evidence(windows=windows))
    numbers = judged.verdicts[0].numbers
    assert 0 < numbers["difference_low_points"] < 25 < numbers["difference_high_points"] < 40
    assert "answers slower than usual differ" in judged.verdicts[0].estimate


@pytest.mark.parametrize(("mean", "discordant", "scale"), [(0.0, 0.16, 1.0), (0.05, 0.3, 1.0), (-0.04, 0.3, 0.4)])
def test_the_sequence_covers_the_difference_at_all_looks_together(mean: float, discordant: float, scale: float) -> None:
    """Its bettors remember their peak, so an end that ever excluded the truth still does at the last look."""
    rng = np.random.default_rng(12)
    outside = 0
    for _ in range(200):
        draw = rng.random(400)
        rows = np.where(draw < (discordant - mean) / 2, -1.0, np.where(draw < discordant, 1.0, 0.0)) * scale
        found = sequence(rows)
        outside += not found.low <= mean * scale <= found.high
    assert outside <= 19  # 5% of 200 is 10; 19 is three standard deviations above


def test_users_set_against_each_other_cover_the_difference_of_the_strata() -> None:
    rng = np.random.default_rng(13)
    outside, widths = 0, []
    for _ in range(100):
        tables = [Table(8, int(rng.binomial(8, 0.05)), 32, int(rng.binomial(32, 0.01))) for _ in range(60)]
        found = sequence(of_strata(tables), prior_square=MARK_SQUARE)
        outside += not found.low <= 0.04 <= found.high
        widths.append(found.high - found.low)
    assert outside <= 11  # 5% of 100 is 5; 11 is three standard deviations above
    assert np.mean(widths) < 0.12


def test_a_stratum_deals_every_user_once() -> None:
    differences = of_strata([Table(3, 3, 10, 5), Table(0, 0, 5, 1), Table(4, 0, 2, 2)])
    assert len(differences) == 5
    assert differences[:3].mean() == pytest.approx(0.5, abs=0.1)
    assert list(differences[3:]) == [-1.0, -1.0]
    assert sequence(np.zeros(0)) == sequence(np.zeros(0))
