"""What the judgement says of each metric."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidegate.domain.base import Contract
from tidegate.domain.resources import RolloutMetric, RolloutPlan

Outcome = Literal["Harm", "NonInferior", "NoHarmFound", "Inconclusive"]


class MetricVerdict(Contract):
    """One metric's verdict, with the sentence and the numbers behind it.

    `Harm` means roll back. `NonInferior` (proven not worse than the margin) and `NoHarmFound` (the planned evidence was
    seen and no harm shown: weaker, and called so) let a rollout promote. `Inconclusive` is never a pass.
    """

    metric: str
    mode: Literal["NonInferiority", "NoHarm"]
    outcome: Outcome
    reason: str
    numbers: dict[str, float] = Field(default_factory=dict)

    @property
    def estimate(self) -> str:
        """An experiment's estimate in words; without one, that there is none."""
        low, high = (self.numbers.get(f"difference_{end}_points") for end in ("low", "high"))
        if low is None or high is None:
            return f"{self.metric} was not estimated"
        what = "answers slower than usual differ" if self.metric.startswith(("latency-", "ttft-")) else "differs"
        return f"{self.metric} {what} by {low:+.1f} to {high:+.1f} points (95% at any look)"

    @property
    def passes(self) -> bool:
        return self.outcome in {"NonInferior", "NoHarmFound"}


class Judgement(Contract):
    """All metrics of a plan on one state of the evidence."""

    verdicts: tuple[MetricVerdict, ...]
    pairs: int
    pairs_by_step: dict[str, int]
    watermark: str

    @property
    def harm(self) -> MetricVerdict | None:
        """The first metric that shows harm."""
        return next((verdict for verdict in self.verdicts if verdict.outcome == "Harm"), None)

    @property
    def all_pass(self) -> bool:
        return bool(self.verdicts) and all(verdict.passes for verdict in self.verdicts)

    @property
    def undecided(self) -> tuple[MetricVerdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.passes)


def harm_tests(metric: RolloutMetric) -> int:
    """How many harm tests a metric takes part with: a latency has one more for its absolute ceiling."""
    return 1 + int(metric.comparison == "Concurrent" and metric.ceiling_milliseconds is not None)


def harm_alpha(plan: RolloutPlan) -> float:
    """Each harm test's share of the rollout's false-rollback budget (Bonferroni)."""
    return float(plan.error_budget.false_rollback_percent) / 100 / sum(harm_tests(metric) for metric in plan.metrics)


def promotion_alpha(plan: RolloutPlan) -> float:
    """Each gate's error probability: promotion needs all of them, so none needs a share (Berger 1982)."""
    return float(plan.error_budget.false_promotion_percent) / 100


def planned_pairs(plan: RolloutPlan) -> int:
    """Pairs that the steps ask for together, at most the declared maximum."""
    return min(plan.max_pairs, sum(step.min_pairs for step in plan.steps))
