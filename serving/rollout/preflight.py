"""Preflight: whether a rollout can start and whether its plan can decide, before any request goes to the candidate."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from serving.rollout.statistics.concurrent import parse_latency
from serving.rollout.statistics.forecast import Prospect, pairs_to_find_harm, pairs_to_promote
from serving.rollout.verdicts import harm_alpha, planned_pairs, promotion_alpha
from tidegate.domain.base import Contract
from tidegate.domain.release import FIRST, release_of
from tidegate.domain.resources import ModelRuntimeSpec, RolloutMetric, RolloutPlan
from tidegate.domain.version import ModelVersion

POWER = 0.9
"""Probability with which the forecast's number of pairs suffices."""
NEEDS_LABELS = frozenset({"exact-match", "length-ratio"})
"""Paired metrics that exist as soon as true labels come back for the stable version's answers …"""
NEEDS_LABEL_SET = frozenset({"valid-label"})
"""… and that need the closed set of labels in the version's prompt."""
_UNKNOWN_DISCORDANT = 0.16
"""Share of discordant pairs to plan with when the report does not compare with the stable version."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The nominated version and whether its attestation verifies.

    Attributes:
        attestation_problem: a sentence when the report's signature does not verify; None when it does.
        engine: the runtime's engine that it would run on.
    """

    version: ModelVersion
    attestation_problem: str | None = None
    engine: str = FIRST

    @property
    def release(self) -> str:
        """What is rolled out: the version on that engine."""
        return release_of(self.version.version, self.engine)


@dataclass(frozen=True, slots=True)
class Situation:
    """What preflight needs to know of the surroundings.

    Attributes:
        runtime: the ModelRuntime that the deployment names.
        base_digest: of the engine's base model; None when the runtime does not pin one.
        stable: the version that serves; None for the first one.
        measured: metrics that are measured for the stable version now. (R3: a gate on a metric that the stable version
            does not emit would wait for ever.)
        pairs_per_second: units that mirroring yields at current traffic; None when unknown.
    """

    runtime: ModelRuntimeSpec
    base_digest: str | None = None
    stable: ModelVersion | None = None
    measured: frozenset[str] = frozenset()
    pairs_per_second: float | None = None


class Forecast(Contract):
    """Pairs that the plan's promotion gates need, and how long that takes at current traffic."""

    pairs_expected: int | None
    pairs_if_equal: int | None
    seconds: float | None
    message: str


class Check(Contract):
    """One preflight condition that does not hold."""

    reason: str
    message: str


class PreflightResult(Contract):
    """Whether to start. `warnings` are said loudly and recorded, but do not hold the rollout."""

    problems: tuple[Check, ...] = ()
    warnings: tuple[Check, ...] = ()
    forecast: Forecast | None = None

    @property
    def passed(self) -> bool:
        return not self.problems


def preflight(plan: RolloutPlan, candidate: Candidate, around: Situation) -> PreflightResult:
    """All checks; for a first version (no stable one) those that compare are left out."""
    problems = [*_trusted(candidate), *_fits(candidate.version, around)]
    warnings = [*_overridden(candidate.version)]
    forecast = None
    if around.stable is not None:
        problems += _measured(plan, around.stable, around.measured)
        forecast = forecast_plan(plan, candidate.version, around)
        problems += _can_decide(plan, forecast, candidate.version)
        if forecast.seconds is not None and forecast.seconds > plan.deadline_seconds:
            problems.append(Check(reason="Underpowered", message=f"{forecast.message}; the deadline is earlier"))
    return PreflightResult(problems=tuple(problems), warnings=tuple(warnings), forecast=forecast)


def forecast_plan(plan: RolloutPlan, candidate: ModelVersion, around: Situation) -> Forecast:
    """Pairs until the plan decides: if the candidate is what its offline comparison says, and if it is equal."""
    gates = [m for m in plan.metrics if m.mode == "NonInferiority" and plan.purpose == "Promotion"]
    power = POWER ** (1 / max(1, len(gates)))  # all gates must pass
    likely = [prospect(candidate, around.stable, metric) for metric in gates]
    expected = [_pairs_to_decide(plan, m, found, power) for m, found in zip(gates, likely, strict=True)]
    equal = [_pairs_to_decide(plan, m, found.equal(), power) for m, found in zip(gates, likely, strict=True)]
    pairs = _largest(expected, planned_pairs(plan))
    rate = around.pairs_per_second
    seconds = pairs / rate if pairs is not None and rate else None
    said = f"about {pairs} pairs" if pairs is not None else f"more than the {plan.max_pairs} pairs allowed"
    if_equal = _largest(equal, planned_pairs(plan))
    said_equal = f"{if_equal}" if if_equal is not None else f"more than {plan.max_pairs}"
    speed = f", about {seconds:.0f} s at {rate:.2g} pairs per second" if seconds is not None and rate else ""
    return Forecast(
        pairs_expected=pairs,
        pairs_if_equal=if_equal,
        seconds=seconds,
        message=f"The plan needs {said} to decide{speed} ({said_equal} if the versions are equal)",
    )


def prospect(candidate: ModelVersion, stable: ModelVersion | None, metric: RolloutMetric) -> Prospect:
    """What to expect of the candidate: its attested comparison with the stable version, else "equal"."""
    for comparison in candidate.report.comparisons:
        if stable is not None and comparison.baseline == stable.key and same_metric(comparison.metric, metric.name):
            return Prospect(
                round(comparison.difference, 3), round((comparison.wins + comparison.losses) / comparison.n, 3)
            )
    return Prospect(0.0, _UNKNOWN_DISCORDANT)


def same_metric(left: str, right: str) -> bool:
    """Metric names are spelled exact_match in reports and exact-match in plans."""
    return left.replace("_", "-").lower() == right.replace("_", "-").lower()


def _pairs_to_decide(plan: RolloutPlan, metric: RolloutMetric, expected: Prospect, power: float) -> int | None:
    margin = float(Decimal(metric.max_drop_points or "0")) / 100
    if expected.difference <= -margin:
        return pairs_to_find_harm(expected, harm_alpha(plan), power, plan.max_pairs)
    if margin == 0:
        return None
    return pairs_to_promote(expected, margin, promotion_alpha(plan), power, plan.max_pairs)


def _largest(pairs: list[int | None], at_least: int) -> int | None:
    known = [count for count in pairs if count is not None]
    return max([*known, at_least]) if len(known) == len(pairs) else None


# --- the checks ------------------------------------------------------------------------------------------------------


def _trusted(candidate: Candidate) -> list[Check]:
    version = candidate.version
    if candidate.attestation_problem is not None:
        return [Check(reason="AttestationInvalid", message=f"{version.key}: {candidate.attestation_problem}")]
    if not version.report.gate.passed and version.report.override is None:
        why = "; ".join(version.report.gate.reasons)
        return [
            Check(reason="GateNotPassed", message=f"{version.key} did not pass its gate and nobody overrode it: {why}")
        ]
    return []


def _overridden(version: ModelVersion) -> list[Check]:
    if version.report.gate.passed or version.report.override is None:
        return []
    override = version.report.override
    message = f"{version.key} failed its gate and {override.by} overrode that: {override.reason}"
    return [Check(reason="GateOverridden", message=message)]


def _fits(version: ModelVersion, around: Situation) -> list[Check]:
    engine = around.runtime.engine
    found = []
    if version.adapter.rank > engine.max_adapter_rank:
        limit = f"the runtime takes at most {engine.max_adapter_rank}; raise spec.engine.maxAdapterRank"
        found.append(
            Check(reason="RankTooHigh", message=f"{version.key} has adapter rank {version.adapter.rank}, {limit}")
        )
    if around.base_digest is not None and version.base.digest != around.base_digest:
        message = f"{version.key} was trained on another base ({version.base.name}) than the runtime serves"
        found.append(Check(reason="BaseDiffers", message=message))
    if around.stable is not None and engine.max_adapters < 2:
        message = "The runtime has room for one adapter, a rollout needs two; raise spec.engine.maxAdapters"
        found.append(Check(reason="NoFreeSlot", message=message))
    return found


def _measured(plan: RolloutPlan, stable: ModelVersion, measured: frozenset[str]) -> list[Check]:
    return [
        Check(
            reason="MetricAbsent",
            message=f"Metric {metric.name} is not measured for the stable version {stable.version}; "
            f"a gate on it could never decide. {_remedy(metric)}",
        )
        for metric in plan.metrics
        if metric.name not in measured
    ]


def _remedy(metric: RolloutMetric) -> str:
    if metric.comparison == "Concurrent":
        return "Send requests: there was none within 10 minutes"
    if metric.name in NEEDS_LABELS:
        return "Send labels to /v1/feedback: none was taken within two days"
    if metric.name in NEEDS_LABEL_SET:
        return "Take it out of the plan: the version's prompt has no closed set of labels"
    return "Correct its name, or have its scorer score the stable version"


def _can_decide(plan: RolloutPlan, forecast: Forecast, candidate: ModelVersion) -> list[Check]:
    found = []
    for metric in plan.metrics:
        margin = Decimal(metric.max_drop_points or "0")
        if metric.mode == "NonInferiority" and margin == 0:
            message = f"{metric.name} has a margin of 0 points, which no number of pairs can prove; set maxDropPoints"
            found.append(Check(reason="Underpowered", message=message))
        if metric.comparison == "Concurrent" and parse_latency(metric.name) is None and metric.name != "error-rate":
            message = f"{metric.name} is no concurrent metric; known are error-rate, latency-pNN and ttft-pNN"
            found.append(Check(reason="MetricUnknown", message=message))
    if any(m.comparison == "Concurrent" for m in plan.metrics) and not any(0 < s.weight < 100 for s in plan.steps):
        message = "Errors and latency are compared side by side, which needs a step with a weight between 1 and 99"
        found.append(Check(reason="Underpowered", message=message))
    asking = [step.name for step in plan.steps if step.min_pairs > 0]
    if plan.paired and plan.mirror.percent == 0:
        message = "Paired metrics need mirrored turns, and mirror.percent is 0; raise it"
        found.append(Check(reason="Underpowered", message=message))
    if asking and not plan.paired:
        message = f"Step {asking[0]} waits for pairs, but no metric is paired; set its minPairs to 0"
        found.append(Check(reason="Underpowered", message=message))
    if not found and forecast.pairs_expected is None:
        message = f"{forecast.message}; raise maxPairs or maxDropPoints, or test {candidate.key} further offline"
        found.append(Check(reason="Underpowered", message=message))
    return found
