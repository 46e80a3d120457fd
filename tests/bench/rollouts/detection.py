"""Single tests: how often they are wrong about equal versions and how fast they find harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from serving.rollout.blocks import Block, Counts
from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import concurrent, paired, users
from serving.rollout.statistics.concurrent import LatencyMetric, Table
from tests.bench.rollouts.statistics import count, quantile, share
from tests.bench.rollouts.tally import START
from tests.bench.rollouts.traffic import Floats
from tidegate.domain.evidence import BOUNDS

ALPHA = 0.01
HORIZON = 300
_BLOCK = 100
"""Requests of both arms in a block."""
_TTFT = LatencyMetric("ttft", 0.95)


@dataclass(frozen=True)
class Row:
    """What is simulated, and how one rollout's harm test ends: at which pair or request, infinity for never."""

    name: str
    rollouts: int
    one: Callable[[np.random.Generator], float]

    def found(self, rng: np.random.Generator) -> list[float]:
        return [self.one(rng) for _ in range(self.rollouts)]


def pairs(rng: np.random.Generator, n: int, difference: float, discordant: float) -> Floats:
    """Differences of binary scores: -1, 0, 1."""
    draws = rng.random(n)
    losses, wins = (discordant - difference) / 2, (discordant + difference) / 2
    return np.where(draws < losses, -1.0, np.where(draws < losses + wins, 1.0, 0.0))


def graded(rng: np.random.Generator, n: int, drop: float) -> Floats:
    """Differences of graded scores, with a standard deviation of 0.25."""
    return np.clip(rng.normal(-drop, 0.25, n), -1.0, 1.0)


def harm(row: Floats, alpha: float, horizon: int, *, binary: bool = True, margin: float = 0.0) -> float:
    """The pair at which the paired harm test crosses, and the observed loss is at least the margin."""
    at = paired.harm(PairedSeries(row, 0, 0, binary), alpha, horizon).crossed_at
    if at is None:
        return math.inf
    loss = -np.cumsum(row) / np.arange(1, len(row) + 1)
    late = np.flatnonzero(loss[at - 1 :] >= margin)
    return float(at + late[0]) if len(late) else math.inf


def errors(
    rng: np.random.Generator, candidate: float, stable: float, weight: float, requests: int, *, each: int = 1
) -> float:
    """Candidate requests at which the error test crosses; `each` user sends so many, all of which go alike."""
    odds = {"": (round(100 * weight), 100)}
    per_block = _BLOCK // each
    blocks, sent = [], []
    total = 0
    while total < requests:
        mine = int(rng.binomial(per_block, weight))
        total += mine * each
        failed = int(rng.binomial(mine, candidate)), int(rng.binomial(per_block - mine, stable))
        blocks.append(
            Block(
                "",
                START,
                stable=Counts((per_block - mine) * each, failed[1] * each, (), (), None, failed[1]),
                candidate=Counts(mine * each, failed[0] * each, (), (), None, failed[0]),
            )
        )
        sent.append(total)
    crossed = users.failed_users(blocks, odds, ALPHA).crossed
    if crossed is None:
        return math.inf
    expected = np.cumsum([(b.stable.requests + b.candidate.requests) * weight for b in blocks]).astype(int)
    at = sent[int(np.searchsorted(expected, crossed))]
    return float(at) if at <= requests else math.inf


def errors_by_request(rng: np.random.Generator, rate: float, weight: float, requests: int, *, each: int) -> float:
    """The same users, but every request of theirs counted as if it were a user's: what is not done."""
    tables = []
    for _ in range(round(requests / weight / _BLOCK)):
        mine = int(rng.binomial(_BLOCK // each, weight))
        other = _BLOCK // each - mine
        failed = int(rng.binomial(mine, rate)), int(rng.binomial(other, rate))
        tables.append(Table(mine * each, failed[0] * each, other * each, failed[1] * each))
    crossed = concurrent.compare(tables, ALPHA).crossed
    return math.inf if crossed is None else float(crossed)


def latency(rng: np.random.Generator, slower: float, weight: float, requests: int, baseline: int) -> float:
    """Candidate users at which the p95 test crosses; the reference comes from `baseline` requests and the traffic."""
    blocks = []
    total = 0
    while total < requests:
        mine = int(rng.binomial(_BLOCK, weight))
        total += mine
        blocks.append(
            Block(
                "", START, Counts(0, 0, (), _ttft(rng, _BLOCK - mine, 1.0)), Counts(0, 0, (), _ttft(rng, mine, slower))
            )
        )
    before = Counts(0, 0, (), _ttft(rng, baseline, 1.0))
    tables = concurrent.slow_tables(blocks, _TTFT, 0.0, BOUNDS, before)
    crossed = concurrent.compare(tables, ALPHA).crossed
    return math.inf if crossed is None or crossed > requests else float(crossed)


def _ttft(rng: np.random.Generator, n: int, slower: float) -> tuple[int, ...]:
    seconds = 0.25 * slower * np.exp(rng.normal(0.0, 0.5, n))
    return tuple(np.bincount(np.searchsorted(BOUNDS, seconds), minlength=len(BOUNDS) + 1).tolist())


def equal_rows(n: int) -> list[Row]:
    few = max(1, n // 4)
    return [
        Row("paired, 16% discordant, 300 pairs", n, lambda r: harm(pairs(r, 300, 0.0, 0.16), ALPHA, 300)),
        Row("paired, 50% discordant, 300 pairs", n, lambda r: harm(pairs(r, 300, 0.0, 0.50), ALPHA, 300)),
        Row("graded scores, 300 pairs", n, lambda r: harm(graded(r, 300, 0.0), ALPHA, 300, binary=False)),
        Row("errors 2%, weight 10%, 500 candidate requests", few, lambda r: errors(r, 0.02, 0.02, 0.1, 500)),
        Row(
            "… ten requests a user that go alike, users counted",
            few,
            lambda r: errors(r, 0.02, 0.02, 0.1, 2000, each=10),
        ),
        Row(
            "… the same, requests counted (never done)",
            few,
            lambda r: errors_by_request(r, 0.02, 0.1, 2000, each=10),
        ),
        Row("p95 latency, reference from 20 requests", few, lambda r: latency(r, 1.0, 0.1, 500, 20)),
        Row("p95 latency, reference from 2000 requests", few, lambda r: latency(r, 1.0, 0.1, 500, 2000)),
        Row(
            "ten alike pairs a user, the first counted",
            n,
            lambda r: harm(pairs(r, HORIZON, 0.0, 0.16), ALPHA, HORIZON),
        ),
        Row(
            "ten alike pairs a user, all counted (never done)",
            n,
            lambda r: harm(np.repeat(pairs(r, HORIZON // 10, 0.0, 0.16), 10), ALPHA, HORIZON),
        ),
    ]


def harm_rows(n: int) -> list[Row]:
    few = max(1, n // 4)

    def drop(rng: np.random.Generator) -> Floats:
        return pairs(rng, 300, -0.10, 0.16)

    return [
        Row("10-point drop, 16% discordant, α 1%, at most 300 pairs", n, lambda r: harm(drop(r), ALPHA, 300)),
        Row(
            "… and only with an observed loss of 5 points (the margin)",
            n,
            lambda r: harm(drop(r), ALPHA, 300, margin=0.05),
        ),
        Row("… α shared over three metrics (family-wise 1%)", n, lambda r: harm(drop(r), ALPHA / 3, 300)),
        Row(
            "… at most 3000 pairs declared, 600 seen",
            n,
            lambda r: harm(pairs(r, 600, -0.10, 0.16), ALPHA, 3000),
        ),
        Row("20-point drop, 30% discordant", n, lambda r: harm(pairs(r, 300, -0.20, 0.30), ALPHA, 300)),
        Row("graded scores, drop 0.10, sd 0.25", n, lambda r: harm(graded(r, 300, 0.10), ALPHA, 300, binary=False)),
        Row("errors 1% → 5%, weight 10%, 500 candidate requests", few, lambda r: errors(r, 0.05, 0.01, 0.1, 500)),
        Row("errors 1% → 5%, weight 50%", few, lambda r: errors(r, 0.05, 0.01, 0.5, 500)),
        Row(
            "errors 1% → 5%, weight 10%, two requests a user",
            few,
            lambda r: errors(r, 0.05, 0.01, 0.1, 500, each=2),
        ),
        Row("p95 time to first token 1.5 times, weight 10%", few, lambda r: latency(r, 1.5, 0.1, 500, 2000)),
    ]


def equal_table(rng: np.random.Generator, n: int) -> Iterator[str]:
    yield "| equal versions, α 1% | called harmful (95% interval) |"
    yield "|---|---|"
    for row in equal_rows(n):
        found = row.found(rng)
        yield f"| {row.name} | {share(sum(map(math.isfinite, found)), len(found))} |"


def harm_table(rng: np.random.Generator, n: int) -> Iterator[str]:
    yield "| harm | found (95% interval) | median | 95% quantile |"
    yield "|---|---|---|---|"
    for row in harm_rows(n):
        found = row.found(rng)
        hits = share(sum(map(math.isfinite, found)), len(found))
        yield f"| {row.name} | {hits} | {count(quantile(found, 0.5))} | {count(quantile(found, 0.95))} |"
