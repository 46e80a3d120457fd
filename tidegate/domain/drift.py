"""Drift reports, alerts and retraining requests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from tidegate.domain.base import Contract, UtcTime


class ColumnDrift(Contract):
    """One column's drift: a p-value against its threshold, and an effect size against the least that counts."""

    column: str
    kind: Literal["text", "embedding", "feature", "quality", "schema"]
    method: str
    value: float
    threshold: float
    drifted: bool
    effect: float | None = Field(default=None, description="effect size of the method; None for schema changes")
    effect_floor: float | None = Field(default=None, description="a smaller effect is no drift, however significant")


class DriftReport(Contract):
    schema_version: Literal[1] = 1
    id: str
    deployment: str
    model: str
    version: str
    window_start: UtcTime
    window_end: UtcTime
    reference_rows: NonNegativeInt
    window_rows: NonNegativeInt
    columns: tuple[ColumnDrift, ...]
    drifted_share: float = Field(ge=0.0, le=1.0)
    verdict: Literal["drift", "no_drift", "too_few_rows"]
    reason: str
    html_uri: str
    json_uri: str


class Alert(Contract):
    """One alert, whatever the source spoke: Alertmanager, and later Grafana, CloudEvents, Standard Webhooks."""

    source: str = Field(description="'alertmanager'")
    fingerprint: str
    status: Literal["firing", "resolved"]
    name: str
    model: str | None = Field(default=None, description="registered model to retrain, from the alert's labels")
    deployment: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    starts_at: UtcTime
    ends_at: UtcTime | None = None
    generator_url: str | None = None

    @property
    def dedup_key(self) -> str:
        """Alertmanager sends an alert again and from every replica; fingerprint and start time name it."""
        return f"{self.source}:{self.fingerprint}:{self.starts_at.isoformat()}:{self.status}"


RetrainStatus = Literal["pending", "running", "succeeded", "failed", "suppressed"]


class RetrainRequest(Contract):
    """A decision to retrain. `key` is the run's name and a tag on the version: the effect happens once."""

    key: str
    model: str
    deployment: str | None = None
    reason: str
    evidence_uri: str | None = Field(default=None, description="the drift report")
    alert: str | None = Field(default=None, description="dedup key of the alert that caused it")
    status: RetrainStatus = "pending"
    status_reason: str | None = None
    run: str | None = None
    attempts: NonNegativeInt = 0
    cooldown_seconds: NonNegativeFloat = 0.0
    created_at: UtcTime
    updated_at: UtcTime
