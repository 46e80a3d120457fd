"""Evidence of a rollout: scored pairs and per-arm counts in time blocks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt

from tidegate.domain.base import Contract, Score, UtcTime
from tidegate.domain.routing import Role

ArmOutcome = Literal["ok", "error", "timeout", "invalid"]


class ArmAnswer(Contract):
    """What one arm said to a mirrored first turn."""

    version: str
    outcome: ArmOutcome
    text: str | None = None
    latency_seconds: float = Field(ge=0.0)
    detail: str | None = Field(default=None, description="the error, when there was one")


class Pair(Contract):
    """One mirrored first turn with both arms' answers, features fetched once for both; not yet scored."""

    id: str
    deployment: str
    rollout: str
    step: str
    epoch: NonNegativeInt
    user: str = Field(description="salted digest of the user key: the unit of analysis")
    time: UtcTime
    request_id: str = Field(description="x-request-id of the shown answer; a label is joined by it")
    text: str = Field(description="the user's turn, redacted")
    features: dict[str, Any] = {}
    shown: Role
    stable: ArmAnswer
    candidate: ArmAnswer


class PairEvent(Contract):
    """A pair scored by one scorer. A missing score is None, never 0: the judge decides what missing means."""

    rollout: str
    pair: str
    scorer: str = Field(description="metric name in the rollout plan: 'exact-match', 'valid-label'…")
    stable_score: Score | None
    candidate_score: Score | None
    user: str
    step: str
    time: UtcTime


class ArmWindow(Contract):
    """Counts of user-visible requests of one arm in one time block, as one gateway saw them.

    Latency is kept as counts per bucket of `serving.gateway.histogram.BOUNDS` (seconds, upper bounds; one more bucket
    for what is above the last), so that windows of several gateways add up.
    """

    deployment: str
    rollout: str | None
    step: str | None
    role: Role
    version: str
    epoch: NonNegativeInt
    gateway: str
    block_start: UtcTime
    requests: NonNegativeInt
    errors: NonNegativeInt
    latency_counts: tuple[NonNegativeInt, ...]
    ttft_counts: tuple[NonNegativeInt, ...]


class Feedback(Contract):
    """What came back for a request. A label is independent of the answer; a rating belongs to the shown answer."""

    id: str
    request_id: str
    deployment: str
    kind: Literal["label", "rating"]
    value: str = Field(description="a label's text, or a rating as a number in [0, 1]")
    source: str = Field(description="who says so: the API key's name")
    time: UtcTime
