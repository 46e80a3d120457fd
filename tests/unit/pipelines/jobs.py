"""A job, where it runs, and a clock, for tests of RayJobs."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.adapters import patience
from tidegate.adapters.job_folder import JobFolder, Outcome
from tidegate.adapters.kube.kinds import ApiKind
from tidegate.adapters.rayjob_manifest import JobSite, rayjob
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import NodePool, Toleration
from tidegate.errors import Unavailable
from tidegate.kfp_settings import JobSettings
from tidegate.ports import JobSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPU = NodePool(
    node_selector={"gpu": "a100"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),),
    gpus_per_node=2,
    cpu="8",
    memory="64Gi",
    kueue_queue="team-a",
    price_per_hour="3.5",
    volumes=({"name": "python", "persistentVolumeClaim": {"claimName": "python"}},),
    volume_mounts=({"name": "python", "mountPath": "/opt/python", "readOnly": True},),
)
JOBS = JobSettings(image="train:1", node_pool="a100", gpus=1, env_config="env", env_secret="sec", secret_files="/etc/s")
SITE = JobSite(jobs=JOBS, cluster=ClusterSettings(), pools={"a100": GPU, "cpu": NodePool()})
ADDRESSES = {
    "TIDEGATE_DATABASE_URL": "sqlite://",
    "TIDEGATE_ARTIFACTS_URI": "memory://a",
    "TIDEGATE_INFERENCE_LOG__URI": "memory://log",
    **{
        f"TIDEGATE_{name}": "http://nowhere.invalid"
        for name in ("MLFLOW_URI", "RAY_ADDRESS", "RAY_DASHBOARD_URL", "ENGINE_URL", "GATEWAY_URL", "RECEIVER_URL")
    },
}
JOB = JobSpec(key="run-1/fine-tune", entrypoint="a.b:run", payload={"training": {"workers": 1}}, pool="train")


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Server:
    """A RayJob, the pods of its namespace, and Kueue's account of it, as they are now.

    Args:
        queue: that the job's node pool names.
        workload: spec and status of its Workload; None: there is none; or what asking for it raises.
    """

    namespace = "runs"

    def __init__(
        self,
        status: dict[str, Any],
        cluster: str = "",
        *,
        queue: str = "",
        workload: dict[str, Any] | Exception | None = None,
    ) -> None:
        pool = GPU.model_copy(update={"kueue_queue": queue or None})
        site = dataclasses.replace(SITE, pools={"a100": pool})
        self.body = rayjob(JOB, 1, "f", site) | {"status": status}
        self.body["metadata"]["uid"] = "u1"
        if cluster:
            self.body["spec"]["clusterSelector"] = {"ray.io/cluster": cluster}
        self.workload = workload
        self.asked: list[str] = []

    def get(self, *_: object) -> dict[str, Any]:
        return self.body

    def list(self, kind: ApiKind, *, labels: str) -> tuple[list[dict[str, Any]], str]:
        self.asked.append(labels)
        if kind.kind != "Workload":
            return [], "1"
        if isinstance(self.workload, Exception):
            raise self.workload
        return ([self.workload] if self.workload is not None else []), "1"


def refuse_outcomes(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """A store that is away for so many outcomes, and no long waits for it.

    Returns:
        Whose only item counts how often one was written.
    """
    tried, end = [0], JobFolder.end

    def refuse(self: JobFolder, attempt: int, outcome: Outcome) -> bool:
        tried[0] += 1
        if tried[0] <= times:
            raise Unavailable("the store is away")
        return end(self, attempt, outcome)

    monkeypatch.setattr(JobFolder, "end", refuse)
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    return tried
