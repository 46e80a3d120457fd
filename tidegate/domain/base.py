"""What all contracts share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_to_utc)]
Digest = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Contract(BaseModel):
    """A frozen value that crosses a plane: unknown fields are refused, so that a drifted writer is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Interval(Contract):
    """A two-sided confidence interval of a value in [0, 1] or of a difference in [-1, 1]."""

    low: float
    high: float
    level: float = 0.95
    method: str = Field(description="how it was made, for example 'wilson' or 'paired-bootstrap'")
