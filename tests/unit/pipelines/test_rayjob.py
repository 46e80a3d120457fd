"""RayJobs: names and manifests. Rendering is pure."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pipelines.jobs import JOB, JOBS, SITE
from tidegate.adapters.rayjob_manifest import JobSite, rayjob, rayjob_name
from tidegate.cluster_settings import ClusterSettings
from tidegate.errors import InvalidInput
from tidegate.ports import JobSpec

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=80), st.text(min_size=1, max_size=80), st.integers(1, 999))
def test_a_name_is_one_that_kuberay_takes(run: str, step: str, attempt: int) -> None:
    name = rayjob_name(f"{run}/{step}", attempt)
    assert len(name) <= 47
    assert _DNS_1035.fullmatch(name), name


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), st.integers(1, 99)), unique=True, max_size=20))
def test_other_work_has_another_name(work: list[tuple[str, str, int]]) -> None:
    keys = {(f"{run}/{step}", attempt) for run, step, attempt in work}
    assert len({rayjob_name(*one) for one in keys}) == len(keys)
    assert all(rayjob_name(*one) == rayjob_name(*one) for one in keys)


@pytest.mark.parametrize("workers", [0, -2])
def test_a_training_without_workers_is_refused(workers: int) -> None:
    job = JOB.model_copy(update={"payload": {"training": {"workers": workers}}})
    with pytest.raises(InvalidInput, match=f"workers = {workers}: a training has at least one"):
        rayjob(job, 1, "s3://b/runs/run-1/jobs/fine-tune", SITE)


# --- manifests -------------------------------------------------------------------------------------------------------


def _head(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    return found


def test_one_worker_is_one_pod_on_the_pool_s_nodes() -> None:
    body = rayjob(JOB, 1, "s3://b/runs/run-1/jobs/fine-tune", SITE)
    pod = _head(body)
    container = pod["containers"][0]
    assert "workerGroupSpecs" not in body["spec"]["rayClusterSpec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert container["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "1"}
    assert container["envFrom"] == [{"configMapRef": {"name": "env"}}, {"secretRef": {"name": "sec"}}]
    assert {"name": "python", "mountPath": "/opt/python", "readOnly": True} in container["volumeMounts"]
    assert {item["name"]: item["value"] for item in container["env"]}["TIDEGATE_TRAINING__PRICE_PER_HOUR"] == "3.5"
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert body["spec"]["submissionMode"] == "HTTPMode"
    assert body["spec"]["shutdownAfterJobFinishes"] is True
    assert body["spec"]["entrypoint"].startswith(
        "python -m tidegate.adapters.rayjob_main s3://b/runs/run-1/jobs/fine-tune 1 --reattach"
    )


def _training(workers: int, **more: Any) -> JobSpec:
    return JOB.model_copy(update={"payload": {"training": {"workers": workers}}, **more})


def _gpus(group: dict[str, Any]) -> int:
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    return int(limits.get("nvidia.com/gpu", 0))


@pytest.mark.parametrize(
    ("workers", "per_pod", "head", "others"),
    [
        (1, 1, 1, []),
        (1, 2, 1, []),
        (2, 2, 2, []),
        (3, 1, 1, [1, 1]),
        (3, 2, 1, [2]),
        (5, 2, 1, [2, 2]),
        (3, 0, 0, [0, 0]),
    ],
)
def test_a_job_has_as_many_gpus_as_workers_and_no_idle_one(
    workers: int, per_pod: int, head: int, others: list[int]
) -> None:
    site = JobSite(jobs=JOBS.model_copy(update={"gpus": per_pod}), cluster=ClusterSettings(), pools=SITE.pools)
    spec = rayjob(_training(workers), 1, "f", site)["spec"]
    cluster = spec["rayClusterSpec"]
    groups = [(group["replicas"], _gpus(group)) for group in cluster.get("workerGroupSpecs", [])]
    assert _gpus(cluster["headGroupSpec"]) == head
    assert groups == ([(len(others), others[0])] if others else [])
    told = spec["entrypoint"].partition(" --gpus ")[2]
    assert told == (str(workers) if per_pod else ""), "the job is told, so that it uses them or fails"


def test_a_job_that_computes_on_the_cpu_reserves_no_gpu() -> None:
    spec = rayjob(_training(1, takes_gpus=False), 1, "f", SITE)["spec"]
    assert _gpus(spec["rayClusterSpec"]["headGroupSpec"]) == 0
    assert "--gpus" not in spec["entrypoint"]


def test_workers_that_share_a_pod_share_its_price() -> None:
    site = JobSite(jobs=JOBS.model_copy(update={"gpus": 2}), cluster=ClusterSettings(), pools=SITE.pools)
    for workers, price in ((1, "3.5"), (2, "1.75"), (4, "1.75")):
        container = _head(rayjob(_training(workers), 1, "f", site))["containers"][0]
        found = {item["name"]: item["value"] for item in container["env"]}
        assert found["TIDEGATE_TRAINING__PRICE_PER_HOUR"] == price


def test_on_an_existing_cluster_one_worker_reserves_its_gpu_and_more_are_placed_by_ray_train() -> None:
    site = JobSite(jobs=JOBS.model_copy(update={"cluster": "shared"}), cluster=ClusterSettings(), pools={})
    assert rayjob(_training(1), 1, "f", site)["spec"]["entrypointNumGpus"] == 1
    several = rayjob(_training(2), 1, "f", site)["spec"]
    assert "entrypointNumGpus" not in several
    assert several["entrypoint"].endswith(" --gpus 2")
    assert "entrypointNumGpus" not in rayjob(_training(1, takes_gpus=False), 1, "f", site)["spec"]


def test_pods_pass_pod_security_restricted() -> None:
    more = JOB.model_copy(update={"payload": {"training": {"workers": 3}}})
    cluster = rayjob(more, 1, "f", SITE)["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert [group.get("replicas", 1) for group in groups] == [1, 2]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_an_existing_cluster_is_only_submitted_to() -> None:
    site = JobSite(jobs=JOBS.model_copy(update={"cluster": "shared"}), cluster=ClusterSettings(), pools={})
    spec = rayjob(JOB, 1, "f", site)["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": "shared"}
    assert "rayClusterSpec" not in spec
    assert "shutdownAfterJobFinishes" not in spec
    assert spec["preRunningDeadlineSeconds"] > JOBS.pending_seconds, "a cluster that never comes is not waited for"


@pytest.mark.parametrize(
    ("jobs", "node_pool", "said"),
    [
        ({}, "h100", "no node pool 'h100'"),
        ({"node_pool": ""}, "", "is told no node pool"),
        ({"gpus": 3}, "", "wants 3 GPUs a pod; a node of pool 'a100' has 2"),
        ({"image": ""}, "", "has no image"),
        ({"cluster": "shared"}, "a100", "are submitted to the RayCluster 'shared'"),
    ],
)
def test_what_cannot_be_placed_is_said_before_it_is_created(jobs: dict[str, Any], node_pool: str, said: str) -> None:
    site = JobSite(jobs=JOBS.model_copy(update=jobs), cluster=ClusterSettings(), pools=SITE.pools)
    with pytest.raises(InvalidInput, match=said) as caught:
        rayjob(JOB.model_copy(update={"node_pool": node_pool}), 1, "f", site)
    assert caught.value.next_step
