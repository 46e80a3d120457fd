"""Users, not requests, are what the concurrent tests count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.rollout.blocks import blocks, strata
from serving.rollout.judge import judge
from serving.rollout.statistics import concurrent, users
from serving.rollout.statistics.concurrent import parse_latency
from serving.rollout.verdicts import MetricVerdict
from tests.unit.rollout.builders import BOUNDS, evidence, plan, window
from tidegate.domain.evidence import ArmWindow

LATENCY = parse_latency("latency-p95")


def error_rate(windows: list[ArmWindow]) -> MetricVerdict:
    return next(v for v in judge(plan(), evidence(windows=windows)).verdicts if v.metric == "error-rate")


def arms(candidate: tuple[int, int], stable: tuple[int, int], *, failed: tuple[int, int]) -> list[ArmWindow]:
    """Ten blocks of (requests, errors); `failed` users of each arm meet one in the first."""
    return [
        made
        for i in range(10)
        for made in (
            window("candidate", *candidate, second=5 * i, users=(10, failed[0] if i == 0 else 0)),
            window("stable", *stable, second=5 * i, users=(10, failed[1] if i == 0 else 0)),
        )
    ]


def test_one_user_whose_every_request_fails_is_one_piece_of_evidence() -> None:
    one = error_rate(arms((20, 6), (20, 0), failed=(1, 0)))
    assert one.outcome == "NoHarmFound"
    assert one.numbers["candidate_failed_users"] == 1
    assert error_rate(arms((20, 6), (20, 0), failed=(20, 0))).outcome == "Harm"


def test_without_users_requests_are_counted() -> None:
    windows = [w.model_copy(update={"users": None}) for w in arms((20, 6), (20, 0), failed=(1, 0))]
    assert error_rate(windows).outcome == "Harm"


def test_the_odds_of_a_step_are_those_of_the_users_that_it_may_move() -> None:
    steps = [("shadow", 0), ("small", 10), ("same", 10), ("half", 50)]
    assert users.odds(steps) == {"shadow": (0, 100), "small": (10, 100), "same": (10, 100), "half": (40, 90)}


@pytest.mark.parametrize("always_failing", [0.0, 0.02])
def test_users_who_always_fail_do_not_raise_false_alarms(always_failing: float) -> None:
    """Requests of 60 users who send 40 each, some of whom always fail: exact by user, wrong by request."""
    rng = np.random.default_rng(5)
    alarms = {"users": 0, "requests": 0}
    rollouts = 400
    for _ in range(rollouts):
        candidate = rng.random(60) < 0.5
        broken = (rng.random(60) < always_failing) | (rng.random(60) < 0.02)
        windows, failed = [], np.zeros(60, dtype=bool)
        for second in range(40):
            fails = broken | (rng.random(60) < 0.01)
            first = fails & ~failed
            failed |= fails
            for role, mine in (("candidate", candidate), ("stable", ~candidate)):
                new = (int(mine.sum()) if second == 0 else 0, int((first & mine).sum()))
                made = window(role, int(mine.sum()), int((fails & mine).sum()), second=5 * second, users=new)  # type: ignore[arg-type]
                windows.append(made)
        found = blocks(windows)
        alarms["users"] += users.failed_users(found, {"half": (50, 100)}, 0.05).crossed is not None
        by_request = concurrent.compare(concurrent.error_tables(strata(found, users=False)), 0.05)
        alarms["requests"] += by_request.crossed is not None
    assert alarms["users"] / rollouts <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rollouts)
    assert alarms["requests"] / rollouts > 0.10


def test_blocks_with_a_request_or_two_are_compared_together() -> None:
    windows = [window("stable" if i % 5 else "candidate", 1, second=5 * i, step="half") for i in range(130)]
    found = strata(blocks(windows), users=False)
    assert [block.stable.requests + block.candidate.requests for block in found] == [40, 40, 40]
    assert all(block.candidate.requests == 8 for block in found)


def test_steps_are_never_compared_together() -> None:
    windows = [window("stable", 3, second=0, step="small"), window("candidate", 3, second=5, step="half")]
    assert [block.step for block in strata(blocks(windows, None), users=False)] == ["small"]


def test_a_cold_start_of_a_few_answers_is_not_above_the_ceiling() -> None:
    assert LATENCY is not None
    slow = (0, 0, 0, 0, 0, 1)
    windows = [window("candidate", 1, second=5 * i, latency=slow) for i in range(19)]
    few = concurrent.over_ceiling(blocks(windows), LATENCY, 0.8, BOUNDS, 0.01, "few")
    assert few == (None, 19, 19)
    more = [*windows, window("candidate", 1, second=200, latency=slow)]
    assert concurrent.over_ceiling(blocks(more), LATENCY, 0.8, BOUNDS, 0.01, "more")[0] == 20
