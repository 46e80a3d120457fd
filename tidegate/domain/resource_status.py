"""What the operator says of a ModelRuntime and a ModelDeployment: their `status`.

`leaderEpoch` is the epoch of the lease under which a status was written. The API server refuses one that falls, so an
operator that lost its lease and does not know it yet changes nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tidegate.domain.resource_base import Epoch, Percent, Resource, ResourceCondition, Whole

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class ModelRuntimeStatus(Resource):
    """The engine as the operator last saw it."""

    observed_generation: Epoch = Field(default=0, description="metadata.generation that this status is of")
    leader_epoch: Epoch = Field(default=0, description="lease epoch of the operator that wrote this; it never falls")
    url: str | None = Field(default=None, description="base URL of the engine's OpenAI API, without the trailing /v1")
    replicas_ready: Whole = Field(default=0, ge=0, description="replicas that answer")
    replicas_wanted: Whole = Field(default=0, ge=0, description="replicas that shall run now")
    adapters: tuple[str, ...] = Field(default=(), description="ids of the adapters that every ready replica holds")
    message: str = Field(default="", description="what the engine is doing, or what keeps it from working")
    conditions: tuple[ResourceCondition, ...] = Field(default=(), description="Ready, Degraded")


class ModelDeploymentStatus(Resource):
    """Which version serves, and how far the one that shall replace it has come."""

    observed_generation: Epoch = Field(default=0, description="metadata.generation that this status is of")
    leader_epoch: Epoch = Field(default=0, description="lease epoch of the operator that wrote this; it never falls")
    phase: str | None = Field(
        default=None,
        description="Pending, Preflight, Shadow, Step, Baking, Succeeded, RollingBack, RolledBack or Paused",
    )
    stable: str | None = Field(default=None, description="version that serves; absent before the first")
    candidate: str | None = Field(default=None, description="version that is judged now; absent when none is")
    previous: str | None = Field(default=None, description="version before the last promotion; kept loaded")
    rollout: str | None = Field(default=None, description="name of the ModelRollout of the last attempt")
    step: str | None = Field(default=None, description="name of the current step of the plan")
    weight: Percent = Field(default=0, description="percent of users on the candidate")
    epoch: Epoch = Field(default=0, description="of the routing; grows with every change of it")
    pairs: Whole = Field(default=0, ge=0, description="scored pairs so far")
    eta_seconds: Whole | None = Field(
        default=None, ge=0, description="until the planned evidence is there at current traffic; absent when unknown"
    )
    eta: str | None = Field(default=None, description="the same for people: 12m")
    reason: str | None = Field(default=None, description="UpperCamelCase code of the last decision")
    message: str | None = Field(default=None, description="the last decision in a sentence")
    conditions: tuple[ResourceCondition, ...] = Field(default=(), description="Ready, Progressing, Paused, Degraded")
    state: dict[str, Any] | None = Field(
        default=None,
        description="the controller's whole state, which its next decision reads; not for people, and never edited",
    )


def short_duration(seconds: int) -> str:
    """A duration for a column, one or two units: 45s, 12m, 3h5m, 2d4h."""
    for unit, smaller, name, smaller_name in ((_DAY, _HOUR, "d", "h"), (_HOUR, _MINUTE, "h", "m")):
        if seconds >= unit:
            rest = seconds % unit // smaller
            return f"{seconds // unit}{name}" + (f"{rest}{smaller_name}" if rest else "")
    return f"{seconds // _MINUTE}m" if seconds >= _MINUTE else f"{seconds}s"
