"""A site: what a cluster adds to the pipelines. One YAML file, closed; its defaults are what the chart renders.

release: tidegate
images: {registry: registry.example.com/ml, tag: 0.1.0}
training: {nodePool: a100, gpus: 1}
steps:
  prepare: {resources: {memory: 8Gi}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError

from tidegate.domain.node_pools import Quantity, Toleration
from tidegate.domain.resource_base import LongName, Name, Resource, Text
from tidegate.errors import InvalidInput

HOME_VOLUME: Final = "tidegate-home"
STEPS: Final = ("new-rows", "prepare", "features", "fine-tune", "evaluate", "register", "drift-check")
TRAINING_STEPS: Final = ("fine-tune", "evaluate", "register")
"""They hand their work to the pool 'train'."""
_LONGEST_LIFE: Final = 10 * 365 * 86_400
"""Seconds; a duration in a package has an end (protobuf's is 10,000 years)."""
_POD_BEGINS_SECONDS: Final = 60
"""From the end of a wait until the step's pod is heard: scheduled, image pulled, Python begun."""
_FORBIDDEN_HOMES = ("/", "/etc", "/tmp", "/var")  # noqa: S108 - refused, not used

MountPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]{1,200}$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Seconds = Annotated[int, Field(strict=True, ge=1, le=604_800)]


class Images(Resource):
    """One image a role."""

    registry: Text = Field(default="registry.example.com", description="images are <registry>/tidegate/<role>:<tag>")
    tag: str = Field(default="", max_length=128, description="unset: this release")
    pipeline_data: str = Field(default="", description="whole reference of the image of step pods; wins")
    train: str = Field(default="", description="whole reference of the image of training jobs; wins")
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(default="", description="unset: Kubernetes'")
    pull_secret: LongName | None = Field(default=None, description="Secret with the registry's credentials")

    def of(self, role: Literal["pipeline-data", "train"]) -> str:
        """The reference of a role's image."""
        given = self.pipeline_data if role == "pipeline-data" else self.train
        return given or f"{self.registry.rstrip('/')}/tidegate/{role}:{self.tag or _release()}"


class Environment(Resource):
    """Where step pods and training pods take their environment from: keys are names of variables."""

    config_map: Name | None = Field(default=None, description="unset: <release>-pipelines-env")
    secret: Name = Field(default="tidegate-pipelines", description="existing Secret; its attestation.key is a file")
    files: MountPath = Field(default="/etc/tidegate/pipelines", description="where its keys are found as files")
    variables: dict[EnvName, str] = Field(default={}, description="further variables of step pods")


class Claim(Resource):
    """A PersistentVolumeClaim in every step pod. Training pods get theirs from the node pool."""

    name: Name = Field(description="an existing claim in the namespace of the runs")
    mount_path: MountPath = Field(description="where it is mounted")
    sub_path: str = Field(default="", max_length=200, description="a folder in it; needs KFP 2.15 or later")


class Resources(Resource):
    """Of one step pod. Memory is request and limit, so that a step is never evicted for what it was promised."""

    cpu: Quantity | None = Field(default=None, description="request")
    cpu_limit: Quantity | None = Field(default=None, description="unset: none")
    memory: Quantity | None = Field(default=None, description="request and limit")


class Retries(Resource):
    """Of a step whose pod failed. A job that failed for good says so again, and is not done again."""

    count: Annotated[int, Field(strict=True, ge=0, le=20)] = Field(default=2, description="0: none")
    backoff_seconds: Seconds = Field(
        default=10,
        description="before the first; with RayJobs every wait, and a minute, fits into training.reattachSeconds",
    )
    backoff_factor: Annotated[float, Field(ge=1.0, le=10.0)] = Field(default=2.0, description="of each next wait")

    def merged(self, given: Retries | None) -> Retries:
        """These, with what `given` says of them."""
        if given is None:
            return self
        return self.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})

    @property
    def longest_wait(self) -> float:
        """Seconds before the last try; 0 without retries."""
        return self.backoff_seconds * self.backoff_factor ** (self.count - 1) if self.count else 0.0

    def lifetime(self, timeout: int) -> int:
        """Seconds in which all tries of a step fit.

        KFP's backoffMaxDuration is Argo's maxDuration: not the longest wait, but the longest life of all tries
        together. A try is ended by it, and none begins after it.
        """
        waits = sum(self.backoff_seconds * self.backoff_factor**number for number in range(self.count))
        return min((self.count + 1) * timeout + round(waits), _LONGEST_LIFE)


class Step(Resource):
    """What is said of one step; what is unset is taken from `defaults`, then from the built-in values."""

    image: str = Field(default="", description="whole reference; wins over `images`")
    node_pool: str | None = Field(default=None, description="pool of `nodePools` whose nodes the step's pod runs on")
    resources: Resources = Resources()
    retries: Retries | None = None
    timeout_seconds: Seconds | None = Field(default=None, description="of the step's pod")
    node_selector: dict[str, str] = Field(default={}, description="labels of nodes, beside the pool's")
    tolerations: tuple[Toleration, ...] = ()
    labels: dict[str, str] = Field(default={}, description="of the pod")
    annotations: dict[str, str] = Field(default={}, description="of the pod")


class Training(Resource):
    """How fine-tune, evaluate and register are carried out; see TIDEGATE_JOBS__* in docs/settings.md."""

    runner: Literal["rayjob", "step"] = Field(
        default="rayjob", description="a KubeRay RayJob, or the step's own pod (no KubeRay needed)"
    )
    node_pool: str = Field(default="", description="pool of the jobs; a run's parameter node_pool wins")
    gpus: Annotated[int, Field(strict=True, ge=0, le=64)] = Field(
        default=0, description="most GPUs of one pod of a job; a job has one GPU a worker. 0: it computes on CPUs"
    )
    service_account: str | None = Field(default=None, description="of RayJob pods; unset: <release>-training")
    cluster: str = Field(default="", description="an existing RayCluster to submit to, instead of one for each job")
    pending_seconds: Seconds = Field(default=1800, description="a job that has not begun after so long is given up")
    deadline_seconds: Seconds = Field(default=86_400, description="longest life of a job")
    ttl_seconds: Seconds = Field(default=300, description="the pods of a failed RayJob stay so long")
    reattach_seconds: Seconds = Field(
        default=300, description="a job whose step was told to stop waits so long for the step's next pod"
    )
    abandoned_seconds: Seconds = Field(
        default=900, description="a job that no step has followed for so long ends itself"
    )


class NodePools(Resource):
    """The ConfigMap with the node pools that the chart renders from `gpuNodePools`."""

    config_map: Name | None = Field(default=None, description="unset: <release>-node-pools")
    key: Text = Field(default="node-pools.yaml", description="its key")
    file: str = Field(
        default="", description="a copy of it beside the site file; needed when a step's pod names a pool"
    )


class Site(Resource):
    """Everything a package says of its cluster."""

    release: Name = Field(default="tidegate", description="full name of the Helm release")
    images: Images = Images()
    environment: Environment = Environment()
    node_pools: NodePools = NodePools()
    claims: tuple[Claim, ...] = Field(default=(), max_length=16)
    home: MountPath = Field(default="/var/lib/tidegate", description="state folder of a pod; empty at its start")
    training: Training = Training()
    defaults: Step = Step()
    steps: dict[str, Step] = Field(default={}, description="by step")

    def retries(self, step: str) -> Retries:
        """Of a step: what the file says of it, of all steps, and the built-in values."""
        return (self.defaults.retries or Retries()).merged(self.steps.get(step, Step()).retries)

    @property
    def config_map(self) -> str:
        return self.environment.config_map or f"{self.release}-pipelines-env"

    @property
    def pools_config_map(self) -> str:
        return self.node_pools.config_map or f"{self.release}-node-pools"


def read_site(path: Path | None) -> Site:
    """The site of a file; without a file, a cluster where everything has the chart's default name.

    Raises:
        InvalidInput: the file cannot be read, or a field is wrong; the message names it.
    """
    if path is None:
        return Site()
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        site = Site.model_validate({} if found is None else found)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"site file {path} cannot be read: {error}", next_step="Correct the file.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "(whole)"
        message = f"site file {path}: {where} = {first['input']!r:.80}: {first['msg']}"
        raise InvalidInput(message, next_step="Correct the field; docs/pipelines.md lists them.") from None
    _check(site, path)
    return site


def _check(site: Site, path: Path) -> None:
    unknown = sorted(set(site.steps) - set(STEPS))
    if unknown:
        step = f"Use {', '.join(STEPS)}."
        raise InvalidInput(f"site file {path}: steps.{unknown[0]}: there is no such step", next_step=step)
    if site.home in _FORBIDDEN_HOMES:
        step = "Name a folder of its own, for example /var/lib/tidegate."
        raise InvalidInput(f"site file {path}: home = {site.home!r} would hide the system's files", next_step=step)
    _check_training(site.training, path)
    _check_retries(site, path)
    # KFP names the volumes of a pod after what they hold, whatever its kind.
    names = [site.config_map, site.environment.secret, site.pools_config_map, HOME_VOLUME]
    names += [claim.name for claim in site.claims]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(
            f"site file {path}: two of ConfigMaps, Secret and claims are called {twice!r}, "
            "and Kubeflow Pipelines names a pod's volumes after them",
            next_step="Give one of them another name.",
        )


def _check_training(training: Training, path: Path) -> None:
    """An existing RayCluster has nodes, GPUs and an account of its own: what is asked of it beside is not to be had."""
    given = {
        "nodePool": training.node_pool,
        "gpus": training.gpus,
        "serviceAccount": training.service_account,
        "runner": training.runner if training.runner != "rayjob" else "",
    }
    for name, value in given.items():
        if training.cluster and value:
            raise InvalidInput(
                f"site file {path}: training.{name} = {value!r} beside training.cluster = {training.cluster!r}, "
                "whose pods are there already",
                next_step="Leave one of the two out.",
            )


def _check_retries(site: Site, path: Path) -> None:
    """A step that was told to stop finds its job again: its next pod begins before the job has ended itself."""
    patience = min(site.training.reattach_seconds, site.training.abandoned_seconds)
    for step in TRAINING_STEPS if site.training.runner == "rayjob" else ():
        wait = site.retries(step).longest_wait
        if wait + _POD_BEGINS_SECONDS > patience:
            raise InvalidInput(
                f"site file {path}: the retries of {step} wait up to {wait:.0f} s (backoffSeconds × backoffFactor for "
                f"each try before), a pod takes up to {_POD_BEGINS_SECONDS} s to begin, and a job that lost its step "
                f"ends itself after {patience} s: the step would begin its work anew",
                next_step="Lower backoffSeconds or backoffFactor, or raise training.reattachSeconds (and "
                "abandonedSeconds, if that is the shorter one).",
            )


def _release() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only where no tag is given

    return version("tidegate")
