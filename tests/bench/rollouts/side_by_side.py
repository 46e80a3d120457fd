"""The judgement beside what teams use now: the same simulated traffic, split by each method's own weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tests.bench.rollouts.competitors import Method, Verdict, methods
from tests.bench.rollouts.ours import run
from tests.bench.rollouts.plans import LEVELS, Level, example_plan
from tests.bench.rollouts.statistics import percent, quantile
from tests.bench.rollouts.traffic import Scenario, Traffic, simulate
from tidegate.domain.resources import RolloutPlan

OURS, OURS_TUNED = "tidegate, example plan", "tidegate, longer steps"
_SECONDS = 10_800.0
"""Three hours: what the longest method, Kayenta's documented starting point, takes."""
_EQUAL = Scenario("identical versions", 1.0, clustering=1.0, seconds=_SECONDS)
SCENARIOS = (
    _EQUAL,
    replace(_EQUAL, name="10 points worse, equally fast", drop=0.10),
    replace(_EQUAL, name="errors 1% → 5%", candidate_errors=0.05),
)
_SHARES = {0.5: 1.0, 5.0: 1.0, 50.0: 0.25}
"""Of the rollouts, by rate: three hours at 50 requests a second are half a million requests."""


@dataclass
class Cell:
    """One method in one scenario at one level."""

    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.verdicts)

    @property
    def rolled_back(self) -> int:
        return sum(verdict.rolled_back for verdict in self.verdicts)

    @property
    def promoted(self) -> int:
        return sum(verdict.promoted for verdict in self.verdicts)

    def minutes(self) -> float:
        """Median minutes to a rollback."""
        return quantile([verdict.seconds / 60 for verdict in self.verdicts if verdict.rolled_back], 0.5)

    def exposed(self) -> float:
        """Median users' requests that the candidate had answered when it was rolled back."""
        return quantile([float(verdict.exposed) for verdict in self.verdicts if verdict.rolled_back], 0.5)


Cells = dict[tuple[str, float, str], Cell]
"""(scenario, rate, method) -> what came of it. Methods without labels have the scenario's name with ' (no labels)'."""


def compare(rng: np.random.Generator, rollouts: int) -> Cells:
    cells: Cells = {}
    for scenario in SCENARIOS:
        for level in LEVELS:
            for _ in range(max(1, round(rollouts * _SHARES[level.rate]))):
                _one(cells, replace(scenario, rate=level.rate), level, rng)
    return cells


def _one(cells: Cells, scenario: Scenario, level: Level, rng: np.random.Generator) -> None:
    traffic = simulate(scenario, rng)

    def note(name: str, method: str, verdict: Verdict) -> None:
        cells.setdefault((name, level.rate, method), Cell()).verdicts.append(verdict)

    for method, judge in _all(scenario, level, rng).items():
        note(scenario.name, method, judge(traffic))
    if scenario.drop:
        for method, judge in methods(scenario, level, labels=False).items():
            note(f"{scenario.name} (no labels)", method, judge(traffic))


def _all(scenario: Scenario, level: Level, rng: np.random.Generator) -> dict[str, Method]:
    def ours(plan: RolloutPlan) -> Method:
        def judge(traffic: Traffic) -> Verdict:
            outcome = run(plan, traffic, level.mirror_percent, rng)
            return Verdict(outcome.harm is not None, outcome.promoted, outcome.seconds, outcome.exposed)

        return judge

    found = {OURS: ours(example_plan())}
    if level.longer > 1:
        found[OURS_TUNED] = ours(example_plan(level.longer))
    return {**found, **methods(scenario, level)}


def comparison_table(cells: Cells) -> Iterator[str]:
    """One row a method and level: identical versions, then each harm, with and without labels."""
    equal, drop, errors = (scenario.name for scenario in SCENARIOS)
    yield (
        "| requests/s | method | identical: rolled back | 10 points worse: promoted | … without labels: promoted "
        "| … minutes, exposed | errors 1% → 5%: promoted | … minutes, exposed |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for level in LEVELS:
        for method in dict.fromkeys(name for _, rate, name in cells if rate == level.rate):
            a, b, c = (cells[(name, level.rate, method)] for name in (equal, drop, errors))
            blind = cells.get((f"{drop} (no labels)", level.rate, method))
            unseen = percent(blind.promoted, blind.n) if blind is not None else "—"
            yield (
                f"| {level.rate:g} | {method} | {percent(a.rolled_back, a.n)} | {percent(b.promoted, b.n)} | {unseen} "
                f"| {_cost(b)} | {percent(c.promoted, c.n)} | {_cost(c)} |"
            )


def _cost(cell: Cell) -> str:
    if not cell.rolled_back:
        return "—"
    return f"{cell.minutes():.0f}, {cell.exposed():.0f}"
