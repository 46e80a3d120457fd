"""Operating characteristics of the rollout's tests, simulated: how often they are wrong, how fast they are right.

    python -m tests.bench.rollout_operating_characteristics --rollouts 2000

Prints the tables of docs/benchmarks/rollouts.md. Every figure is of the very functions that judge a rollout.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import betting, concurrent, paired
from serving.rollout.statistics.concurrent import Table
from serving.rollout.statistics.forecast import Prospect, pairs_to_find_harm, pairs_to_promote

Floats = NDArray[np.float64]
_ALPHA = 0.01
_HORIZON = 300
_PROMOTION_ALPHA = 0.05


@dataclass(frozen=True)
class Detection:
    """When a test found what there was to find; `at` holds infinity for a rollout in which it did not."""

    at: Floats

    @property
    def found(self) -> float:
        return float(np.isfinite(self.at).mean())

    def row(self) -> str:
        low, high = wilson(int(np.isfinite(self.at).sum()), len(self.at))
        median, q95 = np.quantile(self.at, [0.5, 0.95], method="higher")
        return f"{100 * self.found:.2f}% ({100 * low:.2f}–{100 * high:.2f}) | {_count(median)} | {_count(q95)}"


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (Wilson 1927, JASA 22:209-212)."""
    p = hits / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def pairs(rng: np.random.Generator, shape: tuple[int, int], difference: float, discordant: float) -> Floats:
    """Differences of binary scores: -1, 0, 1."""
    draws = rng.random(shape)
    losses, wins = (discordant - difference) / 2, (discordant + difference) / 2
    return np.where(draws < losses, -1.0, np.where(draws < losses + wins, 1.0, 0.0))


def harm(rows: Floats, alpha: float, horizon: int, *, binary: bool = True) -> Detection:
    """The paired harm test on every row."""
    found = [paired.harm(PairedSeries(row, 0, 0, binary), alpha, horizon).crossed_at for row in rows]
    return Detection(np.array([math.inf if at is None else at for at in found]))


def non_inferior(rows: Floats, margin: float) -> Detection:
    passed = betting.log_capital(rows, -margin) >= -math.log(_PROMOTION_ALPHA)
    return Detection(np.where(passed.any(axis=1), passed.argmax(axis=1) + 1.0, math.inf))


def errors(
    rng: np.random.Generator, rollouts: int, candidate: float, stable: float, weight: float, requests: int, alpha: float
) -> Detection:
    """The error-rate test on blocks of 100 requests, until `requests` candidate requests were seen."""
    per_block = max(1, round(100 * weight))
    found = []
    for _ in range(rollouts):
        tables = [
            Table(per_block, int(c), 100 - per_block, int(s))
            for c, s in zip(
                rng.binomial(per_block, candidate, requests // per_block),
                rng.binomial(100 - per_block, stable, requests // per_block),
                strict=True,
            )
        ]
        at = concurrent.compare(tables, alpha).crossed
        found.append(math.inf if at is None else float(at))
    return Detection(np.array(found))


def whole_rollouts(rng: np.random.Generator, rollouts: int) -> Detection:
    """Rollouts of identical versions with four harm tests that share 1%: two paired metrics, errors, latency.

    Traffic changes over the day (block sizes and rates follow a sine), weights go 10, 50; a crossing counts as a
    rollback although the margins would forgive some.
    """
    alpha = _ALPHA / 4
    worst: list[float] = []
    for _ in range(rollouts):
        ats = []
        for discordant in (0.16, 0.03):
            row = pairs(rng, (1, _HORIZON), 0.0, discordant)
            ats.append(harm(row, alpha, _HORIZON).at[0])
        for share in (0.02, 0.05):
            tables = []
            for block in range(120):
                day = 1 + 0.8 * math.sin(block / 19)
                total = int(rng.poisson(30 * day)) + 2
                candidate = int(rng.binomial(total, 0.1 if block < 60 else 0.5))
                rate = share * day
                tables.append(
                    Table(
                        candidate,
                        int(rng.binomial(candidate, rate)),
                        total - candidate,
                        int(rng.binomial(total - candidate, rate)),
                    )
                )
            at = concurrent.compare(tables, alpha).crossed
            ats.append(math.inf if at is None else float(at))
        worst.append(min(ats))
    return Detection(np.array(worst))


def dependent_users(rng: np.random.Generator, rollouts: int, *, once: bool) -> Detection:
    """Identical versions, ten pairs a user that all come out alike; `once` counts the first pair of each user."""
    users = pairs(rng, (rollouts, _HORIZON if once else _HORIZON // 10), 0.0, 0.16)
    return harm(users if once else np.repeat(users, 10, axis=1), _ALPHA, _HORIZON)


def graded(rng: np.random.Generator, shape: tuple[int, int], drop: float) -> Floats:
    """Graded scores of two judges' kind: differences with a standard deviation of 0.25."""
    return np.clip(rng.normal(-drop, 0.25, shape), -1.0, 1.0)


def harm_tables(rng: np.random.Generator, n: int) -> list[tuple[str, Callable[[], Detection]]]:
    return [
        (
            "10-point drop, 16% discordant, α 1%, at most 300 pairs (R6)",
            lambda: harm(pairs(rng, (n, 300), -0.10, 0.16), _ALPHA, 300),
        ),
        (
            "the same with α shared over three metrics",
            lambda: harm(pairs(rng, (n, 300), -0.10, 0.16), _ALPHA / 3, 300),
        ),
        (
            "the same with at most 3000 pairs declared, 600 seen",
            lambda: harm(pairs(rng, (n, 600), -0.10, 0.16), _ALPHA, 3000),
        ),
        (
            "20-point drop, 30% discordant",
            lambda: harm(pairs(rng, (n, 300), -0.20, 0.30), _ALPHA, 300),
        ),
        ("graded scores, drop 0.10, sd 0.25", lambda: harm(graded(rng, (n, 300), 0.10), _ALPHA, 300, binary=False)),
        (
            "errors 1% → 5%, weight 10%, 500 candidate requests (R6)",
            lambda: errors(rng, n // 4, 0.05, 0.01, 0.10, 500, _ALPHA),
        ),
        (
            "errors 1% → 5%, weight 50%, 500 candidate requests",
            lambda: errors(rng, n // 4, 0.05, 0.01, 0.50, 500, _ALPHA),
        ),
    ]


def equal_tables(rng: np.random.Generator, n: int) -> list[tuple[str, Callable[[], Detection]]]:
    return [
        ("one metric, 16% discordant, 300 pairs", lambda: harm(pairs(rng, (n, 300), 0.0, 0.16), _ALPHA, 300)),
        ("one metric, 50% discordant, 300 pairs", lambda: harm(pairs(rng, (n, 300), 0.0, 0.50), _ALPHA, 300)),
        ("graded scores, 300 pairs", lambda: harm(graded(rng, (n, 300), 0.0), _ALPHA, 300, binary=False)),
        ("error rate 2%, weight 10%, 500 requests", lambda: errors(rng, n // 4, 0.02, 0.02, 0.1, 500, _ALPHA)),
        ("whole rollout: four tests, traffic over the day", lambda: whole_rollouts(rng, n // 2)),
        ("ten dependent pairs a user, one counted", lambda: dependent_users(rng, n, once=True)),
        ("ten dependent pairs a user, all counted (never done)", lambda: dependent_users(rng, n, once=False)),
    ]


def promotion_rows(rng: np.random.Generator, n: int) -> list[str]:
    rows = []
    for margin, discordant in ((0.02, 0.04), (0.05, 0.10), (0.05, 0.16), (0.10, 0.30)):
        prospect = Prospect(0.0, discordant)
        forecast = pairs_to_promote(prospect, margin, _PROMOTION_ALPHA, 0.9, 6000)
        if forecast is None:
            raise ValueError(f"no forecast for a margin of {margin} at {discordant} discordant pairs")
        size = min(n, 4_000_000 // forecast)
        at_margin = non_inferior(pairs(rng, (size, forecast), -margin, discordant), margin).found
        equal = non_inferior(pairs(rng, (size, 2 * forecast), 0.0, discordant), margin)
        better = non_inferior(pairs(rng, (size, forecast), discordant / 2, discordant), margin).found
        needed = np.quantile(equal.at, 0.9, method="higher")
        within = float((equal.at <= forecast).mean())
        rows.append(
            f"| {100 * margin:g} | {100 * discordant:g}% | {forecast} | {_count(needed)} | {100 * at_margin:.1f}% "
            f"| {100 * within:.1f}% | {100 * better:.1f}% |"
        )
    return rows


def _count(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "not found"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rollouts", type=int, default=2000, help="simulated rollouts a row")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    started = time.monotonic()
    out = sys.stdout.write
    out("| false rollback of equal versions | share (95% interval) | | |\n|---|---|---|---|\n")
    for name, run in equal_tables(rng, options.rollouts):
        out(f"| {name} | {run().row().split(' | ')[0]} | | |\n")
    out("\n| harm | found (95% interval) | median | 95% quantile |\n|---|---|---|---|\n")
    for name, run in harm_tables(rng, options.rollouts):
        out(f"| {name} | {run().row()} |\n")
    forecast = pairs_to_find_harm(Prospect(-0.10, 0.16), _ALPHA, 0.9, 300)
    out(f"\nForecast of the pairs that find a 10-point drop with probability 90%: {forecast}.\n\n")
    out("| margin (points) | discordant | forecast | needed for 90% | passed at the margin | equal | better |\n")
    out("|---|---|---|---|---|---|---|\n")
    for row in promotion_rows(rng, options.rollouts):
        out(f"{row}\n")
    out(f"\n{options.rollouts} rollouts a row, seed {options.seed}, {time.monotonic() - started:.0f} s.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
