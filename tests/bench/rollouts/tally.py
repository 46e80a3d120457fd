"""Requests and users of one simulated rollout by arm and block, and the concurrent tests on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from serving.rollout.blocks import STRATUM_REQUESTS, STRATUM_SECONDS, Block, Counts
from serving.rollout.statistics import concurrent, users
from tests.bench.rollouts.traffic import Bools, Ints, Traffic
from tidegate.domain.evidence import BOUNDS, BUCKETS
from tidegate.domain.resources import RolloutPlan

BLOCK_SECONDS = 5.0
START = datetime(2026, 3, 2, tzinfo=UTC)
TTFT = concurrent.LatencyMetric("ttft", 0.95)


@dataclass(frozen=True)
class Schedule:
    """When the steps of a rollout began and when it ended, in seconds; `passed` says whether its gate did."""

    begins: tuple[float, ...]
    ends: float
    passed: bool
    pairs: int


def first_rows(user: Ints, users: int) -> Ints:
    """Positions of every user's first row, in order."""
    first = np.full(users, -1, dtype=np.int64)
    first[user[::-1]] = np.arange(len(user))[::-1]  # the last write stays, which is the first row
    positions: Ints = np.sort(first[first >= 0])
    return positions


class Tally:
    """Requests and users of both arms by block, as gateways count them."""

    def __init__(self, plan: RolloutPlan, traffic: Traffic, times: Schedule) -> None:
        until = int(np.searchsorted(traffic.time, times.ends, side="right"))
        self.plan = plan
        self.time = traffic.time[:until]
        place = traffic.of_request[:until]
        self.step = np.searchsorted(np.array(times.begins), self.time, side="right") - 1
        weights = np.array([step.weight for step in plan.steps], dtype=np.float64)
        before = np.array([max([w for w in weights[:i] if w < weights[i]], default=0.0) for i in range(len(weights))])
        self.on_candidate: Bools = place < weights[self.step]
        self.block = (self.time // BLOCK_SECONDS).astype(np.int64)
        arm = self.on_candidate.astype(np.int64)
        rows = np.arange(until)
        self.arm = arm
        self.fails: Bools = traffic.fails[:, :until][arm, rows]
        self.bucket = traffic.bucket[:, :until][arm, rows]
        free = (weights[self.step] > 0) & (place >= before[self.step])
        self.answers = self._once(traffic, until, free & ~self.fails)
        self.failures = self._once(traffic, until, free & self.fails)
        self._used: Ints = np.unique(self._cell(rows))
        self.seen = self._once(traffic, until, free)

    def _once(self, traffic: Traffic, until: int, which: Bools) -> Ints:
        """Rows that are their user's first in their step among `which`."""
        rows = np.flatnonzero(which)
        found = []
        for step in range(len(self.plan.steps)):
            mine = rows[self.step[rows] == step]
            found.append(mine[first_rows(traffic.user[:until][mine], len(traffic.place))])
        return np.concatenate(found)

    # --- the tests ----------------------------------------------------------------------------------------------

    def error_harm(self, plan: RolloutPlan, alpha: float, margin: float) -> float:
        requests = self._by_block(np.arange(len(self.time)))
        failed = self._by_block(self.failures)
        errors = self._by_block(np.flatnonzero(self.fails))
        key = self._keys()
        blocks = [
            Block(
                step=plan.steps[step].name,
                start=START + timedelta(seconds=BLOCK_SECONDS * block),
                stable=Counts(int(requests[i, 0]), int(errors[i, 0]), (), (), None, int(failed[i, 0])),
                candidate=Counts(int(requests[i, 1]), int(errors[i, 1]), (), (), None, int(failed[i, 1])),
            )
            for i, (block, step) in enumerate(key)
        ]
        odds = users.odds([(step.name, step.weight) for step in plan.steps])
        test = users.failed_users(blocks, odds, alpha)
        if test.crossed is None:
            return math.inf
        return self._tolerated(requests, errors, self._seconds_of_crossing(blocks, odds, test.crossed), margin)

    def _seconds_of_crossing(self, blocks: list[Block], odds: dict[str, users.Odds], expected: int) -> float:
        so_far = 0.0
        for block in blocks:
            moved, free = odds[block.step]
            so_far += (block.stable.requests + block.candidate.requests) * moved / free if 0 < moved < free else 0.0
            if int(so_far) >= expected and block.stable.failed_users + block.candidate.failed_users:
                return (block.start - START).total_seconds() + BLOCK_SECONDS
        return math.inf

    def _tolerated(self, requests: Ints, errors: Ints, since: float, margin: float) -> float:
        """The first stratum at or after `since` at which the observed difference is above the margin."""
        begins, closes = self._strata(requests.sum(axis=1))
        if not begins:
            return math.inf
        total = np.add.reduceat(requests[: closes[-1] + 1], begins, axis=0)
        failed = np.add.reduceat(errors[: closes[-1] + 1], begins, axis=0)
        usable = (total > 0).all(axis=1)
        weight = np.where(usable, total[:, 0] * total[:, 1] / np.maximum(1, total.sum(axis=1)), 0.0)
        gap = failed[:, 1] / np.maximum(1, total[:, 1]) - failed[:, 0] / np.maximum(1, total[:, 0])
        difference = np.cumsum(weight * gap) / np.maximum(1e-12, np.cumsum(weight))
        ends = np.array([self._block_of(close) for close in closes]) * BLOCK_SECONDS + BLOCK_SECONDS
        closed = np.maximum(ends, since)
        last = int(np.searchsorted(ends, since, side="right")) - 1
        if last >= 0 and difference[last] > margin:
            return since
        later = np.flatnonzero((ends > since) & (difference > margin))
        return float(closed[later[0]]) if len(later) else math.inf

    def latency_harm(self, alpha: float, increase: float) -> float:
        counts = self._histograms(self.answers)
        begins, closes = self._strata(self._by_block(self.seen).sum(axis=1))
        if not begins:
            return math.inf
        merged = np.add.reduceat(counts[: closes[-1] + 1], begins, axis=0)
        strata = [_latency_block(row) for row in merged]
        tables = concurrent.slow_tables(strata, TTFT, increase, BOUNDS, None)
        test = concurrent.compare(tables, alpha)
        if test.crossed is None:
            return math.inf
        candidates = np.cumsum([table.candidate if table.stable else 0 for table in tables])
        index = int(np.searchsorted(candidates, test.crossed)) + len(strata) - len(tables)
        return (self._block_of(closes[index]) + 1) * BLOCK_SECONDS

    def ceiling_harm(self, alpha: float, ceiling: float) -> float:
        counts = self._histograms(self.answers)[:, 1]
        used = np.flatnonzero(counts.sum(axis=1))
        blocks = [
            Block("", START, Counts(0, 0, (), ()), Counts(0, 0, (), tuple(counts[i].tolist()))) for i in used.tolist()
        ]
        crossed, _, _ = concurrent.over_ceiling(blocks, TTFT, ceiling, BOUNDS, alpha, "")
        if crossed is None:
            return math.inf
        index = int(np.searchsorted(np.cumsum(counts[used].sum(axis=1)), crossed))
        return (self._block_of(used[index]) + 1) * BLOCK_SECONDS

    # --- blocks -------------------------------------------------------------------------------------------------

    def _cell(self, rows: Ints) -> Ints:
        """(block, step) as one number: a block in which a step begins holds requests of two steps."""
        cells: Ints = self.block[rows] * len(self.plan.steps) + self.step[rows]
        return cells

    def _keys(self) -> list[tuple[int, int]]:
        steps = len(self.plan.steps)
        return [(int(cell) // steps, int(cell) % steps) for cell in self._used]

    def _block_of(self, position: int) -> int:
        return int(self._used[position]) // len(self.plan.steps)

    def _by_block(self, rows: Ints) -> Ints:
        """`(blocks, 2)` rows of the stable arm and of the candidate."""
        index = np.searchsorted(self._used, self._cell(rows)) * 2 + self.arm[rows]
        counts: Ints = np.bincount(index, minlength=2 * len(self._used)).reshape(-1, 2)
        return counts

    def _histograms(self, rows: Ints) -> Ints:
        """`(blocks, 2, buckets)`."""
        index = (np.searchsorted(self._used, self._cell(rows)) * 2 + self.arm[rows]) * BUCKETS + self.bucket[rows]
        counts: Ints = np.bincount(index, minlength=2 * BUCKETS * len(self._used)).reshape(-1, 2, BUCKETS)
        return counts

    def _strata(self, requests: Ints) -> tuple[list[int], list[int]]:
        """First and last block of every full stratum, put together as `blocks.strata` does."""
        begins: list[int] = []
        closes: list[int] = []
        begin, total = -1, 0
        keys = self._keys()
        for i, ((block, step), n) in enumerate(zip(keys, requests.tolist(), strict=True)):
            if begin >= 0 and step != keys[begin][1]:
                begins.append(begin)
                closes.append(i - 1)
                begin = -1
            if begin < 0:
                if not n:
                    continue
                begin, total = i, 0
            total += n
            if total >= STRATUM_REQUESTS or (block - keys[begin][0]) * BLOCK_SECONDS >= STRATUM_SECONDS:
                begins.append(begin)
                closes.append(i)
                begin = -1
        return begins, closes


def _latency_block(row: Ints) -> Block:
    stable, candidate = (tuple(arm.tolist()) for arm in row)
    return Block("", START, Counts(0, 0, (), stable), Counts(0, 0, (), candidate))
