"""Evidence of a rollout: scored pairs and per-arm counts in time blocks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt

from tidegate.domain.base import Contract, Score, UtcTime
from tidegate.domain.routing import Role

ArmOutcome = Literal["ok", "error", "timeout", "invalid"]

_LOWEST_BOUND_SECONDS = 0.001
_HIGHEST_BOUND_SECONDS = 120.0
_BOUND_STEPS = 64
BOUNDS: tuple[float, ...] = tuple(
    round(_LOWEST_BOUND_SECONDS * (_HIGHEST_BOUND_SECONDS / _LOWEST_BOUND_SECONDS) ** (step / _BOUND_STEPS), 6)
    for step in range(_BOUND_STEPS + 1)
)
"""Upper bounds of the latency buckets in seconds: 65, log-spaced from 1 ms to 120 s, each 1.2 times the one before.

A value is within a factor of sqrt(1.2) (9.6%) of the geometric middle of its bucket, so a quantile read from counts is
too. One more bucket, the last, counts what is above 120 s: a histogram has `len(BOUNDS) + 1` counts.
"""
BUCKETS = len(BOUNDS) + 1


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


class UserCounts(Contract):
    """The users among a window's requests, each counted once per rollout step and gateway: the unit of the judgement.

    Requests of one user are alike, and the hash that splits users keeps them on one arm, so a hundred failures of one
    user are one piece of evidence. Only users that no earlier step of the rollout sent to the candidate are counted:
    for them alone the step is a fresh toss between the arms.
    """

    seen: NonNegativeInt = Field(description="users whose first request in the step is in this block")
    errors: NonNegativeInt = Field(description="those of them whose first request failed")
    failed: NonNegativeInt = Field(description="users who met their first failure in the step in this block")
    latency_counts: tuple[NonNegativeInt, ...] = Field(description="of every user's first good answer in the step")
    ttft_counts: tuple[NonNegativeInt, ...] = Field(description="the same, for streamed answers")


class ArmWindow(Contract):
    """Counts of user-visible requests of one arm in one time block, as one gateway saw them.

    Latency is kept as counts per bucket of `BOUNDS`, so that windows of several gateways, and several rows of one
    gateway for the same block, add up. Only good answers have a latency, and only streamed ones a time to first token.
    A request counts for the arm that its user's key chose, and as an error when its *first* attempt failed, whether or
    not a retry then saved the user: otherwise the stable arm's retries would make it look healthier than the candidate
    through the same engine fault. What the stable arm answers in the candidate's place counts for neither.
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
    users: UserCounts | None = Field(default=None, description="None when whoever counted did not know the users")


class Feedback(Contract):
    """What came back for a request. A label is independent of the answer; a rating belongs to the shown answer."""

    id: str
    request_id: str
    deployment: str
    kind: Literal["label", "rating"]
    value: str = Field(description="a label's text, or a rating as a number in [0, 1]")
    source: str = Field(description="who says so: the API key's name")
    time: UtcTime
