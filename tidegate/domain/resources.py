"""ModelRuntime and ModelDeployment (`tidegate.dev/v1alpha1`): the same manifests for a cluster and one machine.

Kubernetes API conventions hold: camelCase fields, UpperCamelCase enums, no floats (quantities with fractions are
strings), durations as integer seconds.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator
from pydantic.alias_generators import to_camel

API_VERSION: Final = "tidegate.dev/v1alpha1"
_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


_MOST_SHARE, _ALL_POINTS = 50, 100


def _decimal(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text!r} must be finite and not negative")
    return text


def _share(text: str) -> str:
    if not 0 < Decimal(_decimal(text)) <= _MOST_SHARE:
        raise ValueError(f"{text!r} must be above 0 and at most {_MOST_SHARE} percent")
    return text


def _points(text: str) -> str:
    if Decimal(_decimal(text)) >= _ALL_POINTS:
        raise ValueError(f"{text!r} must be below {_ALL_POINTS} points")
    return text


DecimalText = Annotated[str, AfterValidator(_decimal)]
Share = Annotated[str, AfterValidator(_share)]
"""Percent of rollouts that may be judged wrongly."""
Points = Annotated[str, AfterValidator(_points)]
"""Percentage points of a score or rate."""
Name = Annotated[str, Field(pattern=_NAME)]


class Resource(BaseModel):
    """camelCase outside, snake_case inside; unknown fields are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Metadata(Resource):
    name: Name
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class NameRef(Resource):
    name: Name


# --- ModelRuntime ---------------------------------------------------------------------------------------------------


class RuntimeBaseModel(Resource):
    uri: str = Field(description="folder, s3:// address or hub id; 'builtin:smollm2-135m-instruct' for the wheel's")
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")


class Engine(Resource):
    """An allow-list of engine options: no free arguments reach an engine."""

    type: Literal["Transformers", "VLLM"] = "Transformers"
    max_model_length: PositiveInt = 512
    max_adapters: PositiveInt = 4
    max_adapter_rank: PositiveInt = 32
    max_batch_size: PositiveInt = 16
    quantization: Literal["None", "AWQ", "GPTQ", "FP8"] = "None"


class Placement(Resource):
    node_pool: str = "local"
    gpus_per_replica: NonNegativeInt = 0
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        return self


class ModelRuntimeSpec(Resource):
    base_model: RuntimeBaseModel
    engine: Engine = Engine()
    placement: Placement = Placement()


class ModelRuntime(Resource):
    """Platform team: one engine (one RayService) that many deployments share."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelRuntime"] = "ModelRuntime"
    metadata: Metadata
    spec: ModelRuntimeSpec


# --- ModelDeployment ------------------------------------------------------------------------------------------------


class ModelSource(Resource):
    type: Literal["Alias", "Version"]
    alias: str | None = None
    version: str | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        wanted = {"Alias": self.alias, "Version": self.version}[self.type]
        other = {"Alias": self.version, "Version": self.alias}[self.type]
        if not wanted or other:
            raise ValueError(f"source type {self.type} takes exactly the field {self.type.lower()!r}")
        return self


class ModelRef(Resource):
    name: str
    source: ModelSource


class RolloutStep(Resource):
    """One step: weight in percent of users; it ends when its time and its pairs are there and no test objects."""

    name: Name
    weight: int = Field(ge=0, le=100)
    min_pairs: NonNegativeInt = 0
    min_duration_seconds: NonNegativeInt = 0
    approval: Literal["Required", "None"] = "None"


class MirrorSpec(Resource):
    percent: int = Field(default=20, ge=0, le=100)
    max_concurrency: PositiveInt = 8


class ErrorBudget(Resource):
    """Of the whole rollout, in percent."""

    false_rollback_percent: Share = "1"
    false_promotion_percent: Share = "5"


class RolloutMetric(Resource):
    """One metric of the plan.

    `Paired` metrics come from scored pairs (exact-match, valid-label…) and take `maxDropPoints`; `Concurrent` metrics
    compare the arms within step and time block: error-rate takes `maxIncreasePoints`, latency quantiles
    (`ttft-p95`, `latency-p95`) take `maxIncreasePercent` and an absolute `ceilingMilliseconds`.
    """

    name: str
    mode: Literal["NonInferiority", "NoHarm"]
    comparison: Literal["Paired", "Concurrent"]
    max_drop_points: Points | None = None
    max_increase_points: Points | None = None
    max_increase_percent: NonNegativeInt | None = None
    ceiling_milliseconds: PositiveInt | None = None
    unit: Literal["User", "Request"] = "User"

    @model_validator(mode="after")
    def _margin_fits(self) -> Self:
        if self.comparison == "Paired" and self.max_drop_points is None:
            raise ValueError(f"paired metric {self.name!r} needs maxDropPoints")
        if self.comparison == "Concurrent" and self.max_increase_points is None and self.max_increase_percent is None:
            raise ValueError(f"concurrent metric {self.name!r} needs maxIncreasePoints or maxIncreasePercent")
        if self.mode == "NonInferiority" and self.comparison != "Paired":
            raise ValueError(f"metric {self.name!r}: NonInferiority is for paired metrics; use NoHarm")
        return self


class RolloutPlan(Resource):
    steps: tuple[RolloutStep, ...] = Field(min_length=1)
    bake_seconds: NonNegativeInt = 0
    deadline_seconds: PositiveInt = 86400
    on_inconclusive: Literal["Pause", "Rollback"] = "Pause"
    max_pairs: PositiveInt = Field(default=3000, le=50_000, description="declared maximum of pairs: the tests' horizon")
    mirror: MirrorSpec = MirrorSpec()
    error_budget: ErrorBudget = ErrorBudget()
    metrics: tuple[RolloutMetric, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError(f"step weights {weights} fall; a rollout only moves forward")
        for what, names in (("step", [s.name for s in self.steps]), ("metric", [m.name for m in self.metrics])):
            doubled = sorted({name for name in names if names.count(name) > 1})
            if doubled:
                raise ValueError(f"{what} names must be unique: {', '.join(doubled)}")
        return self


class ModelDeploymentSpec(Resource):
    runtime_ref: NameRef
    model: ModelRef
    rollout: RolloutPlan


class ModelDeployment(Resource):
    """ML team: what is served under which logical name, and how a new version takes over."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelDeployment"] = "ModelDeployment"
    metadata: Metadata
    spec: ModelDeploymentSpec


AnyResource = ModelRuntime | ModelDeployment
KINDS: dict[str, type[ModelRuntime] | type[ModelDeployment]] = {
    "ModelRuntime": ModelRuntime,
    "ModelDeployment": ModelDeployment,
}


def to_manifest(resource: AnyResource) -> dict[str, Any]:
    """The manifest as a cluster takes it: camelCase, unset optional fields left out."""
    return resource.model_dump(mode="json", by_alias=True, exclude_none=True)
