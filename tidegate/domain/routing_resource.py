"""ModelRouting: a RoutingTable as gateways on a cluster watch it. Named like its ModelDeployment."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidegate.domain.base import Digest, UtcTime
from tidegate.domain.resource_base import (
    API_VERSION,
    Epoch,
    Flag,
    LongName,
    Metadata,
    Name,
    Percent,
    Resource,
    Text,
    Whole,
)
from tidegate.domain.routing import Arm, Mirror, RoutingTable
from tidegate.kube_codec import decimal_text
from tidegate.prompt import GenerationDefaults, PromptTemplate

ArmRole = Literal["Stable", "Candidate"]
_MOST_FEATURES, _MOST_LABELS = 64, 1024
Item = Annotated[str, Field(max_length=256)]
_EVERYONE = 100


class RoutingPrompt(Resource):
    """The version's prompt template."""

    system: str = Field(max_length=32_768, description="system turn, with a {placeholder} for each feature")
    features: tuple[Item, ...] = Field(default=(), max_length=_MOST_FEATURES, description="names of the features")
    feature_views: tuple[Item, ...] = Field(
        default=(), max_length=_MOST_FEATURES, description="where the features come from, same order: view:feature"
    )
    labels: tuple[Item, ...] = Field(
        default=(), max_length=_MOST_LABELS, description="the closed set of valid answers; empty means free text"
    )


class RoutingGeneration(Resource):
    """Generation settings that the version was evaluated with."""

    max_tokens: Whole = Field(default=16, ge=1, le=10_000_000, description="a request may narrow it")
    temperature: Annotated[str, Field(max_length=32, pattern=r"^[0-9](\.[0-9]+)?(e-[0-9]+)?$")] = Field(
        default="0", description="from 0 to 2"
    )
    stop: tuple[Item, ...] = Field(default=(), max_length=16, description="texts that end an answer")


class RoutingArm(Resource):
    """One version that can answer, with all that a gateway needs to ask it."""

    role: ArmRole = Field(description="Stable serves; Candidate is judged")
    version: Text = Field(description="registry version: 7")
    weight: Percent = Field(description="percent of users")
    target: Annotated[str, Field(max_length=1024)] = Field(
        description="base URL of the engine's OpenAI API, without the trailing /v1"
    )
    adapter: Annotated[str, Field(max_length=512)] = Field(description="the engine's model id: banking-intent/7")
    adapter_digest: Digest = Field(description="what the adapter's files hash to")
    prompt: RoutingPrompt = Field(description="how a request becomes what the model sees")
    generation: RoutingGeneration = Field(default=RoutingGeneration(), description="generation defaults")


class RoutingMirror(Resource):
    """Which share of first turns is also sent to the other arm."""

    percent: Percent = Field(default=0, description="of first turns")
    max_concurrency: Whole = Field(default=8, ge=1, le=1024, description="mirrored turns under way per gateway")


class ModelRoutingSpec(Resource):
    """Which arm answers whom; a change needs a higher epoch."""

    deployment: Name = Field(description="the ModelDeployment")
    model: Text = Field(description="the logical name that applications call")
    epoch: Epoch = Field(description="whoever holds a higher one refuses a lower one")
    leader_epoch: Epoch = Field(default=0, description="lease epoch of the operator that wrote this; it never falls")
    salt: LongName = Field(description="the rollout's id, so that the same users are not always first")
    rollout: LongName | None = Field(default=None, description="the ModelRollout under way")
    step: Name | None = Field(default=None, description="name of its step, which evidence carries")
    arms: tuple[RoutingArm, ...] = Field(default=(), max_length=2, description="exactly one is Stable; none if removed")
    mirror: RoutingMirror = Field(default=RoutingMirror(), description="where scored pairs come from")
    updated_at: UtcTime = Field(description="when the operator made it")
    removed: Flag = Field(default=False, description="the deployment was deleted; what remains here keeps its epoch")

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        roles = [arm.role for arm in self.arms]
        if len(set(roles)) != len(roles):
            raise ValueError(f"two arms have the role {roles[0]}")
        if self.removed:
            if self.arms:
                raise ValueError("a removed routing has no arms")
            return self
        if "Stable" not in roles:
            raise ValueError("exactly one arm must be Stable")
        total = sum(arm.weight for arm in self.arms)
        if total != _EVERYONE:
            raise ValueError(f"the weights sum to {total}, not to {_EVERYONE}")
        return self


class ModelRouting(Resource):
    """Made by the operator, one per deployment, and watched by gateways: which version answers whom."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelRouting"] = "ModelRouting"
    metadata: Metadata
    spec: ModelRoutingSpec


# --- the same table, as everything but a cluster knows it ---------------------------------------------------------


def routing_spec(table: RoutingTable, leader_epoch: int) -> ModelRoutingSpec:
    """The table as a ModelRouting's spec.

    Raises:
        ValueError: a weight or a mirror share is not a whole percent.
    """
    return ModelRoutingSpec(
        deployment=table.deployment,
        model=table.model,
        epoch=table.epoch,
        leader_epoch=leader_epoch,
        salt=table.salt,
        rollout=table.rollout,
        step=table.step,
        arms=tuple(_to_kube_arm(arm) for arm in table.arms),
        mirror=RoutingMirror(
            percent=_whole_percent(table.mirror.percent, "mirror share"), max_concurrency=table.mirror.max_concurrency
        ),
        updated_at=table.updated_at,
    )


def removed_spec(spec: ModelRoutingSpec, epoch: int, leader_epoch: int, updated_at: UtcTime) -> ModelRoutingSpec:
    """What remains of the routing of a deleted deployment: its name and an epoch that a later table must exceed."""
    return ModelRoutingSpec(
        deployment=spec.deployment,
        model=spec.model,
        epoch=epoch,
        leader_epoch=leader_epoch,
        salt=spec.salt,
        updated_at=updated_at,
        removed=True,
    )


def routing_table(spec: ModelRoutingSpec) -> RoutingTable | None:
    """The table of a ModelRouting's spec; None for one that was removed.

    Raises:
        pydantic.ValidationError: a prompt's placeholders are not its features, or a temperature is above 2.
    """
    if spec.removed:
        return None
    return RoutingTable(
        deployment=spec.deployment,
        model=spec.model,
        epoch=spec.epoch,
        salt=spec.salt,
        rollout=spec.rollout,
        step=spec.step,
        arms=tuple(_from_kube_arm(arm) for arm in spec.arms),
        mirror=Mirror(percent=float(spec.mirror.percent), max_concurrency=spec.mirror.max_concurrency),
        updated_at=spec.updated_at,
    )


def _to_kube_arm(arm: Arm) -> RoutingArm:
    return RoutingArm(
        role="Stable" if arm.role == "stable" else "Candidate",
        version=arm.version,
        weight=_whole_percent(arm.weight, f"weight of the {arm.role} arm"),
        target=arm.target,
        adapter=arm.adapter,
        adapter_digest=arm.adapter_digest,
        prompt=RoutingPrompt(**arm.prompt.model_dump()),
        generation=RoutingGeneration(
            max_tokens=arm.generation.max_tokens,
            temperature=decimal_text(abs(arm.generation.temperature)),
            stop=arm.generation.stop,
        ),
    )


def _from_kube_arm(arm: RoutingArm) -> Arm:
    return Arm(
        role="stable" if arm.role == "Stable" else "candidate",
        version=arm.version,
        weight=float(arm.weight),
        target=arm.target,
        adapter=arm.adapter,
        adapter_digest=arm.adapter_digest,
        prompt=PromptTemplate(**arm.prompt.model_dump()),
        generation=GenerationDefaults(
            max_tokens=arm.generation.max_tokens,
            temperature=float(arm.generation.temperature),
            stop=arm.generation.stop,
        ),
    )


def _whole_percent(value: float, what: str) -> int:
    if value != int(value):
        raise ValueError(f"{what} is {value}%; a ModelRouting takes whole percents only")
    return int(value)
