"""How Kubeflow Pipelines is reached, and how steps hand training to KubeRay."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class KfpSettings(BaseModel):
    """The Kubeflow Pipelines API. Secrets are paths of files, read anew for every call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="", description="API of Kubeflow Pipelines, for example http://ml-pipeline.kubeflow:8888")
    ui_url: str = Field(default="", description="where people open its pages; unset: url")
    namespace: str = Field(default="", description="profile namespace of runs; multi-user installations need it")
    version: str = Field(
        default="", description="version of the pipelines that commands and the receiver run; unset: the newest"
    )
    experiment: str = Field(default="tidegate", description="experiment of the runs")
    service_account: str = Field(default="", description="service account of the runs' pods; unset: KFP's default")
    token_path: Path | None = Field(
        default=None,
        description="file with a bearer token: OIDC, or a projected service-account token for pipelines.kubeflow.org",
    )
    cookie_path: Path | None = Field(
        default=None, description="file with a session cookie, NAME=VALUE (authservice_session, oauth2_proxy_kubeflow)"
    )
    header_name: str = Field(default="", description="header that an authenticating proxy wants, e.g. kubeflow-userid")
    header_value_path: Path | None = Field(default=None, description="file with that header's value")
    ca_path: Path | None = Field(default=None, description="file with the certificate authority of the API")
    request_timeout: PositiveFloat = Field(default=20.0, description="longest wait for an answer (s)")
    timezone: str = Field(
        default="UTC", description="time zone of the installation's schedules (its CRON_SCHEDULE_TIMEZONE)"
    )


class JobSettings(BaseModel):
    """Training jobs of pipeline steps on a cluster. A compiled package carries it as TIDEGATE_JOBS, in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: Literal["rayjob", "step"] = Field(
        default="rayjob", description="training runs as a RayJob, or in the step's own pod"
    )
    image: str = Field(default="", description="image of RayJobs (role train)")
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(
        default="", description="of RayJob pods; unset: Kubernetes' default"
    )
    image_pull_secret: str = Field(default="", description="Secret with the registry's credentials")
    node_pool: str = Field(default="", description="node pool of RayJobs; a run's parameter node_pool wins")
    gpus: NonNegativeInt = Field(default=0, description="most GPUs of one pod of a RayJob; one a worker")
    service_account: str = Field(default="", description="service account of RayJob pods; it needs no rights")
    env_config: str = Field(default="", description="ConfigMap whose keys are the environment of RayJob pods")
    env_secret: str = Field(default="", description="Secret whose keys are the environment of RayJob pods")
    secret_files: str = Field(
        default="", description="folder where RayJob pods find the keys of env_secret as files; unset: not mounted"
    )
    cluster: str = Field(default="", description="submit to this RayCluster instead of starting one for each job")
    pending_seconds: PositiveInt = Field(
        default=1800, description="a job that has not begun after so long is given up: unschedulable, no image (s)"
    )
    deadline_seconds: PositiveInt = Field(default=86_400, description="longest life of a RayJob (s)")
    ttl_seconds: NonNegativeInt = Field(default=300, description="a failed RayJob's pods stay so long (s)")
    reattach_seconds: PositiveInt = Field(
        default=300, description="a job whose step was told to stop waits so long for the step's next pod (s)"
    )
    abandoned_seconds: PositiveInt = Field(
        default=900, description="a job that no step has followed for so long ends itself (s)"
    )
    failure_kept_seconds: NonNegativeInt = Field(
        default=900, description="a final failure is told again, not tried again, for so long (s)"
    )
    poll_seconds: PositiveFloat = Field(default=2.0, description="how often a step looks at its job (s)")
