"""ModelRollout, one attempt with its frozen plan, and RolloutAction, what a person asks of it.

A ModelRollout is a record for people: the operator decides from the state in the ModelDeployment's status.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tidegate.domain.base import UtcTime
from tidegate.domain.resource_base import (
    API_VERSION,
    Epoch,
    Flag,
    LongMetadata,
    LongName,
    Name,
    Percent,
    Resource,
    ResourceCondition,
    Text,
    Whole,
)
from tidegate.domain.resources import RolloutPlan

RolloutVerb = Literal["Approve", "Promote", "Abort", "Pause", "Resume"]
UserName = Annotated[str, Field(min_length=1, max_length=512)]
"""As the API server knows a user: an e-mail address, or system:serviceaccount:<namespace>:<name>."""


class ModelRolloutSpec(Resource):
    """What was attempted; it never changes."""

    deployment: Name = Field(description="the ModelDeployment")
    model: Text = Field(description="registered model")
    candidate: Text = Field(description="version that shall take over")
    stable: Text | None = Field(default=None, description="version that served at the start; absent for the first")
    epoch: Epoch = Field(description="routing epoch at the start")
    plan: RolloutPlan = Field(description="the deployment's plan as it was at the start")


class RolloutVerdict(Resource):
    """One metric's verdict with the numbers behind it."""

    metric: Text = Field(description="name of the metric in the plan")
    mode: str = Field(description="NonInferiority or NoHarm")
    outcome: str = Field(
        description="Harm: rolls back; NonInferior or NoHarmFound: may promote; Inconclusive: neither, never a pass"
    )
    reason: str = Field(description="a sentence for people")
    numbers: dict[str, str] = Field(default={}, description="by name, as decimal texts; NaN and Infinity occur")


class ModelRolloutStatus(Resource):
    """How far the attempt has come, or how it ended."""

    leader_epoch: Epoch = Field(default=0, description="lease epoch of the operator that wrote this; it never falls")
    phase: str | None = Field(
        default=None,
        description="Preflight, Shadow, Step, Baking, Succeeded, RollingBack, RolledBack or Paused",
    )
    step: str | None = Field(default=None, description="name of the current step")
    weight: Percent = Field(default=0, description="percent of users on the candidate")
    pairs: Whole = Field(default=0, ge=0, description="scored pairs so far")
    eta_seconds: Whole | None = Field(
        default=None, ge=0, description="until the planned evidence is there at current traffic; absent when unknown"
    )
    eta: str | None = Field(default=None, description="the same for people: 12m")
    reason: str | None = Field(default=None, description="UpperCamelCase code of the last decision")
    message: str | None = Field(default=None, description="the last decision in a sentence")
    started_at: UtcTime | None = Field(default=None, description="when the attempt began")
    ended_at: UtcTime | None = Field(default=None, description="when it succeeded or was rolled back")
    verdicts: tuple[RolloutVerdict, ...] = Field(default=(), description="of each metric, on the evidence so far")
    conditions: tuple[ResourceCondition, ...] = Field(
        default=(),
        description="of the deployment when they were said; wait for an end with "
        "--for=jsonpath={.status.phase}=Succeeded",
    )


class ModelRollout(Resource):
    """Made by the operator, one per attempt: a candidate, the plan frozen at its start, and the evidence so far."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelRollout"] = "ModelRollout"
    metadata: LongMetadata
    spec: ModelRolloutSpec


class RolloutActionSpec(Resource):
    """What is asked, and by whom; it never changes."""

    deployment: Name = Field(description="the ModelDeployment whose rollout is meant")
    action: RolloutVerb = Field(
        description="Approve: the next step may begin; Promote: past what the evidence says; Abort: roll back; "
        "Pause: keep the weight; Resume: go on, or try the last version again"
    )
    requested_by: UserName = Field(description="your user name, as `kubectl auth whoami` says it; checked on creation")
    reason: str = Field(default="", max_length=1024, description="why; it stands in the history and in the ledger")
    rollout: LongName | None = Field(
        default=None, description="name of the ModelRollout that is meant; a later one refuses the action"
    )


class RolloutActionStatus(Resource):
    """The operator's answer, given once."""

    leader_epoch: Epoch = Field(default=0, description="lease epoch of the operator that wrote this; it never falls")
    accepted: Flag | None = Field(default=None, description="whether it changed anything")
    answer: str | None = Field(default=None, description="a sentence: what was done, or why it was refused")
    answered_at: UtcTime | None = Field(default=None, description="when it was answered")


class RolloutAction(Resource):
    """A person asks something of a rollout: create one to approve, promote, abort, pause or resume."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["RolloutAction"] = "RolloutAction"
    metadata: LongMetadata
    spec: RolloutActionSpec
