"""Whole rollouts of identical versions through the judgement, at several traffic levels and kinds of users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.bench.rollouts.ours import Outcome, run
from tests.bench.rollouts.plans import LEVELS, Level, example_plan
from tests.bench.rollouts.statistics import percent, quantile, share
from tests.bench.rollouts.traffic import Scenario, simulate

SHARES = (0.4, 0.4, 0.2)
"""Of the rollouts, by level: the fastest traffic takes the longest to simulate."""
KINDS = (("alike", 0.5, 0.0), ("heavy and unlike", 1.5, 5.0))
"""Name of the users, spread of their activity, clustering of their fortunes (see `Scenario`)."""


@dataclass(frozen=True)
class Cell:
    """Rollouts at one level with one kind of users."""

    level: Level
    users: str
    outcomes: list[Outcome]

    @property
    def harmed(self) -> int:
        return sum(outcome.harm is not None for outcome in self.outcomes)

    @property
    def promoted(self) -> int:
        return sum(outcome.promoted for outcome in self.outcomes)


def simulate_cells(rng: np.random.Generator, rollouts: int) -> list[Cell]:
    plan = example_plan()
    cells = []
    for level, part in zip(LEVELS, SHARES, strict=True):
        for users, spread, clustering in KINDS:
            scenario = Scenario(users, level.rate, spread=spread, clustering=clustering, seconds=level.seconds)
            n = max(1, round(rollouts * part / len(KINDS)))
            outcomes = [run(plan, simulate(scenario, rng), level.mirror_percent, rng) for _ in range(n)]
            cells.append(Cell(level, users, outcomes))
    return cells


def whole_table(cells: list[Cell]) -> Iterator[str]:
    yield "| requests/s | users | rollouts | rolled back (95% interval) | promoted | median minutes | median pairs |"
    yield "|---|---|---|---|---|---|---|"
    for cell in cells:
        n = len(cell.outcomes)
        minutes = quantile([outcome.seconds / 60 for outcome in cell.outcomes if outcome.promoted], 0.5)
        pairs = quantile([float(outcome.pairs) for outcome in cell.outcomes if outcome.promoted], 0.5)
        yield (
            f"| {cell.level.rate:g} | {cell.users} | {n} | {share(cell.harmed, n)} | {percent(cell.promoted, n)} "
            f"| {minutes:.0f} | {pairs:.0f} |"
        )
    total = sum(len(cell.outcomes) for cell in cells)
    harmed, promoted = sum(cell.harmed for cell in cells), sum(cell.promoted for cell in cells)
    yield f"| **all** | | **{total}** | **{share(harmed, total)}** | {percent(promoted, total)} | | |"


def blamed(cells: list[Cell]) -> str:
    """Which metric the false rollbacks were for."""
    counts = Counter(outcome.harm for cell in cells for outcome in cell.outcomes if outcome.harm is not None)
    named = ", ".join(f"{name} {n}" for name, n in counts.most_common())
    return f"False rollbacks by metric: {named or 'none'}."
