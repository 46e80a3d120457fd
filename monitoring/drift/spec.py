"""What a drift check is told and what it answers: JSON in and out of the compute port."""

from __future__ import annotations

from pydantic import Field

from tidegate.domain.base import Contract, UtcTime
from tidegate.domain.drift import DriftReport

ENTRYPOINT = "monitoring.drift.job:run"


class DriftCheckSpec(Contract):
    """One check of one deployment. What is None comes from the platform's state and settings."""

    deployment: str = Field(description="name of the ModelDeployment")
    version: str | None = Field(default=None, description="registry version; by default the stable one")
    reference_uri: str | None = Field(default=None, description="reference window; by default the version's own")
    window_start: UtcTime | None = None
    window_end: UtcTime | None = Field(default=None, description="by default now")
    send_alert: bool = Field(default=True, description="tell the alert receiver")
    seed: int = Field(default=0, description="of the sample of a window larger than the limit")


class DriftCheckResult(Contract):
    """The report, and what became of the alert."""

    report: DriftReport
    alert: str = Field(description="'firing', 'resolved', 'none', or why it could not be sent")
