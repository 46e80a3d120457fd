"""ModelRuntime and ModelDeployment (`tidegate.dev/v1alpha1`): the same manifests for a cluster and one machine.

Kubernetes API conventions hold: camelCase fields, UpperCamelCase enums, no floats (quantities with fractions are
strings), durations as integer seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tidegate.domain.base import Digest
from tidegate.domain.release import ENGINE_SUFFIX
from tidegate.domain.resource_base import (
    API_VERSION,
    Metadata,
    Name,
    NameRef,
    Percent,
    Points,
    Resource,
    Seconds,
    Share,
    Text,
    Whole,
)

MOST_PAIRS = 50_000
MOST_STEPS, MOST_METRICS = 32, 16


# --- ModelRuntime ---------------------------------------------------------------------------------------------------


class RuntimeBaseModel(Resource):
    """The base that adapters are loaded on."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="folder, s3:// address or hub id; 'builtin:smollm2-135m-instruct' for the wheel's"
    )
    digest: Digest | None = Field(default=None, description="what the files must hash to; unset pins nothing")


class Engine(Resource):
    """An allow-list of engine options: no free arguments reach an engine."""

    type: Literal["Transformers", "VLLM"] = Field(default="Transformers", description="VLLM comes with a later release")
    max_model_length: Whole = Field(
        default=512, ge=1, le=10_000_000, description="prompt and answer together, in tokens"
    )
    max_adapters: Whole = Field(
        default=4,
        ge=1,
        le=1024,
        description="adapter slots, shared by all deployments of the runtime; a rollout needs two of them",
    )
    max_adapter_rank: Whole = Field(
        default=32, ge=1, le=1024, description="a version with a higher rank is refused in preflight"
    )
    max_batch_size: Whole = Field(default=16, ge=1, le=4096, description="requests in one forward pass; more wait")
    quantization: Literal["None", "AWQ", "GPTQ", "FP8"] = Field(
        default="None", description="of the base; the Transformers engine takes None only"
    )


class Placement(Resource):
    """Nodes and replicas."""

    node_pool: Text = Field(default="local", description="on a cluster, the pool of nodes; one machine has no pools")
    gpus_per_replica: Whole = Field(default=0, ge=0, le=64, description="GPUs that a replica asks Ray for")
    min_replicas: Whole = Field(default=1, ge=1, le=1000, description="replicas that always run")
    max_replicas: Whole = Field(
        default=1, ge=1, le=1000, description="above minReplicas: Ray Serve scales by requests under way"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        return self


class ModelRuntimeSpec(Resource):
    """The engine that shall run."""

    base_model: RuntimeBaseModel = Field(description="what all adapters of this runtime were trained on")
    engine: Engine = Field(default=Engine(), description="the engine and its options")
    placement: Placement = Field(default=Placement(), description="where and how many")
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None, description="container image of the engine on a cluster; unset: the platform's default"
    )
    ray_version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length=32)] | None = Field(
        default=None, description="Ray in that image, for KubeRay; unset: the platform's default"
    )


class ModelRuntime(Resource):
    """Platform team: one engine (one RayService) that many deployments share."""

    api_version: Literal["tidegate.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelRuntime"] = "ModelRuntime"
    metadata: Metadata
    spec: ModelRuntimeSpec

    @model_validator(mode="after")
    def _no_engine_of_another(self) -> Self:
        if ENGINE_SUFFIX.search(self.metadata.name):
            name = self.metadata.name
            raise ValueError(f"name {name!r} ends like an engine of another runtime (-e<number>); choose another name")
        return self


# --- ModelDeployment ------------------------------------------------------------------------------------------------


class ModelSource(Resource):
    """Where the nominated version comes from: `type` says which one of the other fields is set."""

    type: Literal["Alias", "Version"] = Field(description="follow an alias of the registry, or name one version")
    alias: Text | None = Field(default=None, description="for type Alias: whatever it points at is nominated")
    version: Text | None = Field(default=None, description="for type Version: its number")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        wanted = {"Alias": self.alias, "Version": self.version}[self.type]
        other = {"Alias": self.version, "Version": self.alias}[self.type]
        if not wanted or other:
            raise ValueError(f"source type {self.type} takes exactly the field {self.type.lower()!r}")
        return self


class ModelRef(Resource):
    """A model of the registry."""

    name: Text = Field(description="registered model; it cannot change while a version serves")
    source: ModelSource = Field(description="which version is nominated")


class RolloutStep(Resource):
    """One step: weight in percent of users; it ends when its time and its pairs are there and no test objects."""

    name: Name = Field(description="unique in the plan")
    weight: Percent = Field(description="percent of users; 0 is a shadow step. Weights never fall")
    min_pairs: Whole = Field(
        default=0, ge=0, le=MOST_PAIRS, description="scored pairs that this step collects before it ends"
    )
    min_duration_seconds: Seconds = Field(default=0, description="how long it lasts at least")
    approval: Literal["None", "Required", "SecondPerson"] = Field(
        default="None",
        description="Required: a person lets it begin; SecondPerson: one who did not ask for the change themselves",
    )


class MirrorSpec(Resource):
    """First turns that are also sent to the other version; nobody sees its answer."""

    percent: Percent = Field(default=20, description="share of first turns that both versions answer")
    max_concurrency: Whole = Field(
        default=8, ge=1, le=1024, description="mirrored turns under way per gateway; more are left out"
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

    name: Text = Field(
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
    max_increase_percent: Whole | None = Field(
        default=None, ge=0, le=10_000, description="latency: the tolerance above the stable version's quantile"
    )
    ceiling_milliseconds: Whole | None = Field(
        default=None,
        ge=1,
        le=3_600_000,
        description="latency: an absolute limit on the quantile, whatever the stable version does",
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
    """Steps, evidence and tests between a nomination and a promotion."""

    purpose: Literal["Promotion", "Experiment"] = Field(
        default="Promotion",
        description="Experiment: the steps with the same protection from harm, then everybody back on the stable "
        "version and an estimate of every metric's difference on record; nothing is promoted",
    )
    steps: tuple[RolloutStep, ...] = Field(min_length=1, max_length=MOST_STEPS, description="in order")
    bake_seconds: Seconds = Field(
        default=0, description="all users on the new version, the old one kept loaded, harm still rolls back"
    )
    deadline_seconds: Seconds = Field(
        default=86400,
        ge=1,
        description="of the steps: from the first one's begin, or a resume; Preflight and Baking do not count",
    )
    on_inconclusive: Literal["Pause", "Rollback"] = Field(
        default="Pause", description="at the deadline, or with all pairs used and no decision"
    )
    max_pairs: Whole = Field(
        default=3000, ge=1, le=MOST_PAIRS, description="declared maximum of pairs: the tests' horizon"
    )
    mirror: MirrorSpec = Field(default=MirrorSpec(), description="where pairs come from")
    error_budget: ErrorBudget = Field(default=ErrorBudget(), description="how often the judgement may be wrong")
    metrics: tuple[RolloutMetric, ...] = Field(min_length=1, max_length=MOST_METRICS, description="what must hold")

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
    """What is served, where, and how a new version takes over."""

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
