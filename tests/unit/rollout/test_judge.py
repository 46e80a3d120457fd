"""Verdicts: what counts as harm, as a pass, and as neither."""

from __future__ import annotations

import math
import random
from datetime import timedelta

import pytest

from serving.rollout.evidence import Evidence
from serving.rollout.judge import judge
from serving.rollout.verdicts import MetricVerdict, harm_alpha
from tests.unit.rollout.builders import BOUNDS, START, evidence, pairs, plan, window
from tidegate.domain.evidence import ArmWindow, PairEvent
from tidegate.domain.resources import RolloutPlan


def verdict(found: Evidence, name: str = "exact-match", on: RolloutPlan | None = None) -> MetricVerdict:
    return next(v for v in judge(on or plan(), found).verdicts if v.metric == name)


def mixed(outcomes: str, seed: int = 1) -> str:
    letters = list(outcomes)
    random.Random(seed).shuffle(letters)
    return "".join(letters)


def test_a_much_worse_candidate_is_harm() -> None:
    found = verdict(evidence(pairs(mixed("-" * 20 + "=" * 30))))
    assert found.outcome == "Harm"
    assert "20 losses and 0 wins in 50 pairs" in found.reason


def test_a_much_better_candidate_passes_and_says_at_which_pair() -> None:
    found = verdict(evidence(pairs(mixed("+" * 25 + "=" * 35))))
    assert found.outcome == "NonInferior"
    assert 10 <= found.numbers["passed_at_pair"] <= 60


def test_a_drop_within_the_margin_is_not_harm() -> None:
    """Surely worse, but by less than the plan tolerates: neither a rollback nor a pass."""
    found = verdict(evidence(pairs(mixed("-" * 14 + "=" * 386))))
    assert found.numbers["harm_at_pair"] > 0
    assert found.outcome != "Harm"


def test_no_evidence_decides_nothing() -> None:
    judged = judge(plan(), evidence())
    assert [v.outcome for v in judged.verdicts] == ["Inconclusive", "Inconclusive"]
    assert not judged.all_pass


def test_one_user_counts_once() -> None:
    events = [event.model_copy(update={"user": "the-same"}) for event in pairs("-" * 60)]
    found = verdict(evidence(events))
    assert found.outcome == "Inconclusive"
    assert found.numbers["repeated_users"] == 59


def test_a_score_that_arrives_later_replaces_the_missing_one_and_a_second_one_does_not() -> None:
    late = [*pairs("?" * 30), *pairs("+" * 30), *pairs("-" * 30)]
    found = verdict(evidence(late))
    assert (found.numbers["wins"], found.numbers["losses"]) == (30, 0)


def test_unscored_pairs_are_neither_loss_nor_win_but_do_not_pass() -> None:
    found = verdict(evidence(pairs("+" * 60 + "?" * 100)))
    assert found.outcome == "Inconclusive"
    assert "100 pairs have no score yet" in found.reason


def test_scores_missing_for_the_candidate_alone_withhold_the_pass() -> None:
    found = verdict(evidence(pairs(mixed("+" * 60 + "c" * 40))))
    assert found.outcome == "Inconclusive"
    assert "candidate version's scores are missing" in found.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 2.0])
def test_a_score_that_is_no_score_counts_as_missing(bad: float) -> None:
    broken = [
        PairEvent.model_construct(**{**dict(event), "candidate_score": bad, "stable_score": bad})
        for event in pairs("=" * 80)
    ]
    assert verdict(evidence(broken)).outcome == "Inconclusive"


def test_no_harm_needs_the_planned_pairs() -> None:
    lenient = plan(
        metrics=[{"name": "valid-label", "mode": "NoHarm", "comparison": "Paired", "maxDropPoints": "5"}],
    )
    few = evidence(pairs("=" * 79, scorer="valid-label"))
    enough = evidence(pairs("=" * 80, scorer="valid-label"))
    assert verdict(few, "valid-label", lenient).outcome == "Inconclusive"
    assert verdict(enough, "valid-label", lenient).outcome == "NoHarmFound"


def arms(candidate: tuple[int, int], stable: tuple[int, int], blocks: int = 10) -> list[ArmWindow]:
    return [
        made
        for i in range(blocks)
        for made in (
            window("candidate", *candidate, second=5 * i),
            window("stable", *stable, second=5 * i),
        )
    ]


def test_errors_of_the_candidate_are_harm_and_errors_of_both_are_not() -> None:
    assert verdict(evidence(windows=arms((20, 6), (20, 0))), "error-rate").outcome == "Harm"
    assert verdict(evidence(windows=arms((20, 6), (20, 6))), "error-rate").outcome == "NoHarmFound"


def test_too_few_requests_side_by_side_decide_nothing() -> None:
    assert verdict(evidence(windows=arms((1, 0), (50, 0))), "error-rate").outcome == "Inconclusive"


def test_a_block_that_is_still_open_is_not_judged() -> None:
    windows = arms((20, 6), (20, 0), blocks=1)
    early = judge(plan(), evidence(windows=windows), START + timedelta(seconds=5))
    late = judge(plan(), evidence(windows=windows), START + timedelta(seconds=9))
    assert early.verdicts[1].numbers["candidate_requests"] == 0
    assert late.verdicts[1].numbers["candidate_requests"] == 20


LATENCY = plan(
    metrics=[
        {
            "name": "latency-p95",
            "mode": "NoHarm",
            "comparison": "Concurrent",
            "maxIncreasePercent": 50,
            "ceilingMilliseconds": 800,
        }
    ]
)
FAST, SLOWER, SLOWEST = (38, 2, 0, 0, 0, 0), (20, 10, 10, 0, 0, 0), (10, 10, 10, 0, 10, 0)


def slow(candidate: tuple[int, ...], stable: tuple[int, ...]) -> Evidence:
    windows = [
        made
        for i in range(10)
        for made in (
            window("candidate", 40, second=5 * i, latency=candidate),
            window("stable", 40, second=5 * i, latency=stable),
        )
    ]
    return Evidence(windows=windows, bounds=BOUNDS)


def test_a_slower_candidate_is_harm_and_one_as_slow_as_the_stable_version_is_not() -> None:
    assert verdict(slow(SLOWER, FAST), "latency-p95", LATENCY).outcome == "Harm"
    assert verdict(slow(FAST, FAST), "latency-p95", LATENCY).outcome == "NoHarmFound"
    assert verdict(slow(SLOWER, SLOWER), "latency-p95", LATENCY).outcome == "NoHarmFound"


def test_above_the_ceiling_is_harm_even_when_the_stable_version_is_as_slow() -> None:
    found = verdict(slow(SLOWEST, SLOWEST), "latency-p95", LATENCY)
    assert found.outcome == "Harm"
    assert "above its ceiling of 800 ms" in found.reason


def test_the_budget_is_shared_over_all_harm_tests() -> None:
    assert harm_alpha(plan()) == pytest.approx(0.01 / 2)
    assert harm_alpha(LATENCY) == pytest.approx(0.01 / 2)  # the comparison and the ceiling
