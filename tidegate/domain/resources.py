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
    name: Name = Field(description="a DNS label; of a ModelDeployment also the model name that applications call")
    namespace: str = "default"
    labels: dict[str, str] = Field(default={}, description="for people and tools; no meaning here")
    annotations: dict[str, str] = Field(default={}, description="the same")


class NameRef(Resource):
    name: Name


# --- ModelRuntime ---------------------------------------------------------------------------------------------------


class RuntimeBaseModel(Resource):
    uri: str = Field(description="folder, s3:// address or hub id; 'builtin:smollm2-135m-instruct' for the wheel's")
    digest: str | None = Field(
        default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="what the files must hash to; unset pins nothing"
    )


class Engine(Resource):
    """An allow-list of engine options: no free arguments reach an engine."""

    type: Literal["Transformers", "VLLM"] = Field(default="Transformers", description="VLLM comes with a later release")
    max_model_length: PositiveInt = Field(default=512, description="prompt and answer together, in tokens")
    max_adapters: PositiveInt = Field(
        default=4, description="adapter slots, shared by all deployments of the runtime; a rollout needs two of them"
    )
    max_adapter_rank: PositiveInt = Field(
        default=32, description="a version with a higher rank is refused in preflight"
    )
    max_batch_size: PositiveInt = Field(default=16, description="requests in one forward pass; more wait")
    quantization: Literal["None", "AWQ", "GPTQ", "FP8"] = Field(
        default="None", description="of the base; the Transformers engine takes None only"
    )


class Placement(Resource):
    node_pool: str = Field(default="local", description="on a cluster, the pool of nodes; one machine has no pools")
    gpus_per_replica: NonNegativeInt = Field(default=0, description="GPUs that a replica asks Ray for")
    min_replicas: PositiveInt = Field(default=1, description="replicas that always run")
    max_replicas: PositiveInt = Field(
        default=1, description="above minReplicas: Ray Serve scales by requests under way"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        return self


class ModelRuntimeSpec(Resource):
    base_model: RuntimeBaseModel = Field(description="what all adapters of this runtime were trained on")
    engine: Engine = Field(default=Engine(), description="the engine and its options")
    placement: Placement = Field(default=Placement(), description="where and how many")


class ModelRuntime(Resource):
    """Platform team: one engine (one RayService) that many deployments share."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelRuntime"] = "ModelRuntime"
    metadata: Metadata
    spec: ModelRuntimeSpec


# --- ModelDeployment ------------------------------------------------------------------------------------------------


class ModelSource(Resource):
    type: Literal["Alias", "Version"] = Field(description="follow an alias of the registry, or name one version")
    alias: str | None = Field(default=None, description="for type Alias: whatever it points at is nominated")
    version: str | None = Field(default=None, description="for type Version: its number")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        wanted = {"Alias": self.alias, "Version": self.version}[self.type]
        other = {"Alias": self.version, "Version": self.alias}[self.type]
        if not wanted or other:
            raise ValueError(f"source type {self.type} takes exactly the field {self.type.lower()!r}")
        return self


class ModelRef(Resource):
    name: str = Field(description="registered model; it cannot change while a version serves")
    source: ModelSource = Field(description="which version is nominated")


class RolloutStep(Resource):
    """One step: weight in percent of users; it ends when its time and its pairs are there and no test objects."""

    name: Name = Field(description="unique in the plan")
    weight: int = Field(ge=0, le=100, description="percent of users; 0 is a shadow step. Weights never fall")
    min_pairs: NonNegativeInt = Field(default=0, description="scored pairs that this step collects before it ends")
    min_duration_seconds: NonNegativeInt = Field(default=0, description="how long it lasts at least")
    approval: Literal["Required", "None"] = Field(default="None", description="Required: a person lets it begin")


class MirrorSpec(Resource):
    percent: int = Field(default=20, ge=0, le=100, description="share of first turns that both versions answer")
    max_concurrency: PositiveInt = Field(
        default=8, description="mirrored turns under way per gateway; more are left out"
    )


class ErrorBudget(Resource):
    """Of the whole rollout, in percent."""

    false_rollback_percent: Share = Field(
        default="1", description="of rollouts of equal versions that end in a rollback; shared by the harm tests"
    )
    false_promotion_percent: Share = Field(
        default="5", description="of rollouts of a version that is worse by the margin; each gate keeps it"
    )


class RolloutMetric(Resource):
    """One metric of the plan.

    `Paired` metrics come from scored pairs (exact-match, valid-label…) and take `maxDropPoints`; `Concurrent` metrics
    compare the arms within step and time block: error-rate takes `maxIncreasePoints`, latency quantiles
    (`ttft-p95`, `latency-p95`) take `maxIncreasePercent` and an absolute `ceilingMilliseconds`.
    """

    name: str = Field(
        description="paired: exact-match, valid-label, no-refusal, length-ratio; concurrent: error-rate, latency-pNN, "
        "ttft-pNN"
    )
    mode: Literal["NonInferiority", "NoHarm"] = Field(
        description="NonInferiority: proven not worse by the margin; NoHarm: no harm found after the planned evidence"
    )
    comparison: Literal["Paired", "Concurrent"] = Field(
        description="Paired: both versions answer the same turn; Concurrent: users of both side by side"
    )
    max_drop_points: Points | None = Field(default=None, description="paired: the margin, in percentage points")
    max_increase_points: Points | None = Field(
        default=None, description="error-rate: the tolerance, in percentage points"
    )
    max_increase_percent: NonNegativeInt | None = Field(
        default=None, description="latency: the tolerance above the stable version's quantile"
    )
    ceiling_milliseconds: PositiveInt | None = Field(
        default=None, description="latency: an absolute limit on the quantile, whatever the stable version does"
    )
    unit: Literal["User", "Request"] = Field(
        default="User",
        description="what counts once: paired, one pair of a user in the rollout; concurrent, a user once a step. "
        "Request is only right when no user sends two",
    )

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
    purpose: Literal["Promotion", "Experiment"] = Field(
        default="Promotion",
        description="Experiment: the steps with the same protection from harm, then everybody back on the stable "
        "version and an estimate of every metric's difference on record; nothing is promoted",
    )
    steps: tuple[RolloutStep, ...] = Field(min_length=1, description="in order")
    bake_seconds: NonNegativeInt = Field(
        default=0, description="all users on the new version, the old one kept loaded, harm still rolls back"
    )
    deadline_seconds: PositiveInt = Field(default=86400, description="of the steps, from the rollout's begin or resume")
    on_inconclusive: Literal["Pause", "Rollback"] = Field(
        default="Pause", description="at the deadline, or with all pairs used and no decision"
    )
    max_pairs: PositiveInt = Field(default=3000, le=50_000, description="declared maximum of pairs: the tests' horizon")
    mirror: MirrorSpec = Field(default=MirrorSpec(), description="where pairs come from")
    error_budget: ErrorBudget = Field(default=ErrorBudget(), description="how often the judgement may be wrong")
    metrics: tuple[RolloutMetric, ...] = Field(min_length=1, description="what must hold")

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

    @property
    def paired(self) -> frozenset[str]:
        """The names of the metrics that are compared on pairs."""
        return frozenset(metric.name for metric in self.metrics if metric.comparison == "Paired")


class ModelDeploymentSpec(Resource):
    runtime_ref: NameRef = Field(description="the ModelRuntime; it cannot change while a version serves")
    model: ModelRef = Field(description="what is served")
    rollout: RolloutPlan = Field(description="how a new version takes over")


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
