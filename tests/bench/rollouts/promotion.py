"""The gate: how often it passes what is worse, equal or better, and whether the forecast of pairs is honest."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from serving.rollout.statistics.betting import log_capital
from serving.rollout.statistics.forecast import Prospect, pairs_to_find_harm, pairs_to_promote
from tests.bench.rollouts.detection import ALPHA, HORIZON, harm, pairs
from tests.bench.rollouts.statistics import count, percent, quantile
from tests.bench.rollouts.traffic import Floats

PROMOTION_ALPHA = 0.05
POWER = 0.9
_MOST_PAIRS = 8000
_ELEMENTS = 1 << 17
CASES = ((0.02, 0.04), (0.03, 0.10), (0.05, 0.10), (0.05, 0.16), (0.05, 0.30), (0.10, 0.16), (0.10, 0.30))
"""(margin, share of discordant pairs)."""


def passes(rng: np.random.Generator, rollouts: int, pairs_seen: int, margin: float, mean: float, p: float) -> Floats:
    """`(rollouts,)` pairs at which the gate passes; infinity for never."""
    found = []
    at_once = max(1, _ELEMENTS // pairs_seen)
    for start in range(0, rollouts, at_once):
        rows = min(at_once, rollouts - start)
        drawn = pairs(rng, rows * pairs_seen, mean, p).reshape(rows, pairs_seen)
        passed = log_capital(drawn, -margin) >= -math.log(PROMOTION_ALPHA)
        found.append(np.where(passed.any(axis=1), passed.argmax(axis=1) + 1.0, math.inf))
    return np.concatenate(found)


def promotion_table(rng: np.random.Generator, n: int) -> Iterator[str]:
    yield "| margin (points) | discordant | forecast | needed for 90% | off by | at the margin | equal | better |"
    yield "|---|---|---|---|---|---|---|---|"
    for margin, discordant in CASES:
        forecast = pairs_to_promote(Prospect(0.0, discordant), margin, PROMOTION_ALPHA, POWER, _MOST_PAIRS)
        if forecast is None:
            raise ValueError(f"no forecast for a margin of {margin} at {discordant} discordant pairs")
        equal = passes(rng, n, 2 * forecast, margin, 0.0, discordant)
        worse = passes(rng, n, forecast, margin, -margin, discordant)
        better = passes(rng, n, forecast, margin, discordant / 2, discordant)
        needed = quantile(equal.tolist(), POWER)
        yield (
            f"| {100 * margin:g} | {100 * discordant:g}% | {forecast} | {count(needed)} "
            f"| {100 * (forecast / needed - 1):+.0f}% | {percent(int(np.isfinite(worse).sum()), n)} "
            f"| {percent(int((equal <= forecast).sum()), n)} | {percent(int(np.isfinite(better).sum()), n)} |"
        )


def pairs_table() -> Iterator[str]:
    """What the preflight would say of an equal version, by margin and share of discordant pairs."""
    shares = (0.04, 0.10, 0.16, 0.30)
    yield "| margin (points) | " + " | ".join(f"{100 * share:g}% discordant" for share in shares) + " |"
    yield "|---" * (len(shares) + 1) + "|"
    for margin in (0.02, 0.03, 0.05, 0.10):
        needed = [pairs_to_promote(Prospect(0.0, p), margin, PROMOTION_ALPHA, POWER, _MOST_PAIRS) for p in shares]
        cells = " | ".join(f"more than {_MOST_PAIRS}" if n is None else str(n) for n in needed)
        yield f"| {100 * margin:g} | {cells} |"


def harm_forecast(rng: np.random.Generator, n: int) -> str:
    forecast = pairs_to_find_harm(Prospect(-0.10, 0.16), ALPHA, POWER, HORIZON)
    needed = quantile([harm(pairs(rng, HORIZON, -0.10, 0.16), ALPHA, HORIZON) for _ in range(n)], POWER)
    return f"Pairs that find a 10-point drop with probability 90%: forecast {forecast}, needed {count(needed)}."
