"""EvalReport: measured quality, the paired comparison, the gate's verdict, and its attestation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tidegate.domain.base import Contract, Digest, Interval, UtcTime
from tidegate.prompt import GenerationDefaults


class Metric(Contract):
    """One measured value with its interval and the number of rows behind it."""

    name: str
    value: float
    interval: Interval | None = None
    n: PositiveInt
    unit: Literal["fraction", "seconds", "tokens_per_second"] = "fraction"


class SliceMetric(Contract):
    """A metric on the rows of one slice, for example one intent."""

    slice: str
    metric: Metric


class PairedComparison(Contract):
    """Candidate minus baseline on the same rows."""

    baseline: str = Field(description="'base' for the untuned base model, or a version such as 'banking-intent/3'")
    metric: str
    candidate_value: float
    baseline_value: float
    difference: float
    interval: Interval
    wins: NonNegativeInt = Field(description="rows that only the candidate got right")
    losses: NonNegativeInt = Field(description="rows that only the baseline got right")
    n: PositiveInt
    p_value: float | None = Field(default=None, description="McNemar's exact test, two-sided")


class GateCheck(Contract):
    """One condition of the gate and how it came out."""

    name: str
    passed: bool
    reason: str = Field(description="a sentence with the value, the limit and what they are of")


class GateVerdict(Contract):
    passed: bool
    checks: tuple[GateCheck, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of the checks that failed."""
        return tuple(check.reason for check in self.checks if not check.passed)


class GateOverride(Contract):
    """An explicit, recorded decision to register past a failed gate."""

    by: str
    reason: str
    at: UtcTime


class EvalReport(Contract):
    """The evaluation of one adapter. Its digest is signed: see `tidegate.attestation`."""

    schema_version: Literal[1] = 1
    candidate: str = Field(description="adapter digest")
    data_digest: Digest = Field(description="content digest of the test split")
    generation: GenerationDefaults = Field(
        default=GenerationDefaults(), description="what the answers were made with; a version is served with the same"
    )
    metrics: tuple[Metric, ...]
    slices: tuple[SliceMetric, ...] = ()
    comparisons: tuple[PairedComparison, ...] = ()
    gate: GateVerdict
    override: GateOverride | None = None
    created_at: UtcTime

    def metric(self, name: str) -> Metric:
        """The metric of that name; KeyError if there is none."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)


class Attestation(Contract):
    """A signature over a report's digest: HMAC-SHA256 with the platform's key, hex."""

    report_digest: Digest
    signature: str
    key_id: str
    signed_at: UtcTime
