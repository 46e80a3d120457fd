"""The benchmark's vectorised rollouts and the judge of real ones say the same of the same traffic."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest

from serving.rollout.evidence import Evidence
from serving.rollout.judge import judge
from tests.bench.rollouts.ours import Pairs, harms, pairs_of, schedule
from tests.bench.rollouts.plans import example_plan
from tests.bench.rollouts.tally import BLOCK_SECONDS, START, Schedule, Tally
from tests.bench.rollouts.traffic import Ints, Scenario, simulate
from tidegate.domain.evidence import BOUNDS, BUCKETS, ArmWindow, PairEvent, UserCounts
from tidegate.domain.routing import Role

PLAN = example_plan()
CASES = [
    Scenario("equal, alike", 5, seconds=1500),
    Scenario("equal, unlike", 2, clustering=5, seconds=2000),
    Scenario("worse", 2, drop=0.12, clustering=1, seconds=1200),
    Scenario("fails", 5, candidate_errors=0.08, clustering=1, seconds=1500),
    Scenario("slow", 10, slower=2.0, clustering=1, seconds=1200),
    Scenario("very slow", 10, slower=8.0, seconds=900),
]


@pytest.mark.parametrize("scenario", CASES, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_vectorised_rollout_agrees_with_the_judge(scenario: Scenario, seed: int) -> None:
    rng = np.random.default_rng(seed)
    traffic = simulate(scenario, rng)
    pairs = pairs_of(traffic, 100, rng)
    times = schedule(PLAN, pairs, float(traffic.time[-1]))
    tally = Tally(PLAN, traffic, times)
    vectorised = harms(PLAN, pairs, times, tally)

    evidence = Evidence(pair_events=events(pairs, times), windows=windows(tally), bounds=BOUNDS)
    # A look at the end of the traffic: what was found earlier is found then, unless the tolerance forgives it since.
    judged = judge(PLAN, evidence, START + timedelta(seconds=times.ends + 60))

    for verdict in judged.verdicts:
        found = [at for name, at in vectorised.items() if name.split()[0] == verdict.metric and math.isfinite(at)]
        if verdict.outcome == "Harm":
            assert found, f"{verdict.metric}: only the judge found harm: {verdict.reason}"
        elif found:
            assert "harm_at_pair" in verdict.numbers or verdict.metric == "error-rate", verdict.reason
    gate = judged.verdicts[0]
    if times.passed and not math.isfinite(vectorised["exact-match"]):
        assert gate.outcome == "NonInferior"
    assert judged.pairs == times.pairs
    if scenario.name in {"worse", "fails", "slow", "very slow"} and times.ends > 1000:
        assert judged.harm is not None


def events(pairs: Pairs, times: Schedule) -> list[PairEvent]:
    scores = {-1.0: (1.0, 0.0), 0.0: (1.0, 1.0), 1.0: (0.0, 1.0)}
    return [
        PairEvent(
            rollout="r",
            pair=f"p{i}",
            scorer="exact-match",
            stable_score=scores[difference][0],
            candidate_score=scores[difference][1],
            user=f"u{user}",
            step=PLAN.steps[int(np.searchsorted(times.begins, at, side="right")) - 1].name,
            time=START + timedelta(seconds=at),
        )
        for i, (at, difference, user) in enumerate(
            zip(pairs.time.tolist(), pairs.difference.tolist(), pairs.user.tolist(), strict=True)
        )
        if at <= times.ends
    ]


def windows(tally: Tally) -> list[ArmWindow]:
    """What two gateways that share the traffic's blocks between them would have written."""
    made = []
    steps = len(PLAN.steps)
    roles: tuple[Role, Role] = ("stable", "candidate")
    for cell in np.unique(tally.block * steps + tally.step).tolist():
        for arm, role in enumerate(roles):
            of = (tally.block * steps + tally.step == cell) & (tally.arm == arm)
            if not of.any():
                continue
            block, step = divmod(cell, steps)
            ok = of & ~tally.fails
            seen, failures, answers = (_among(rows, of) for rows in (tally.seen, tally.failures, tally.answers))
            made.append(
                ArmWindow(
                    deployment="d",
                    rollout="r",
                    step=PLAN.steps[step].name,
                    role=role,
                    version=str(arm + 1),
                    epoch=step + 1,
                    gateway=f"g{cell % 2}",
                    block_start=START + timedelta(seconds=BLOCK_SECONDS * block),
                    requests=int(of.sum()),
                    errors=int((of & tally.fails).sum()),
                    latency_counts=histogram(tally, np.flatnonzero(ok)),
                    ttft_counts=histogram(tally, np.flatnonzero(ok)),
                    users=UserCounts(
                        seen=len(seen),
                        errors=int(tally.fails[seen].sum()),
                        failed=len(failures),
                        latency_counts=histogram(tally, answers),
                        ttft_counts=histogram(tally, answers),
                    ),
                )
            )
    return made


def _among(rows: Ints, of: np.ndarray) -> Ints:
    kept: Ints = rows[of[rows]]
    return kept


def histogram(tally: Tally, rows: Ints) -> tuple[int, ...]:
    return tuple(np.bincount(tally.bucket[rows], minlength=BUCKETS).tolist())
