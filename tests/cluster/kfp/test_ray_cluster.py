"""Jobs that the real KubeRay sends to a RayCluster which is there already: that of docs/pipelines.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import documented
from tests.cluster.kfp.backend import Backend, wait_for
from tests.cluster.kfp.jobs import Make
from tests.cluster.kfp.platform import Platform
from tests.cluster.node import BASE_IMAGE, python_environment
from tidegate.adapters.rayjob_manifest import rayjob_name
from tidegate.attestation import key_id_of, load_key
from tidegate.errors import ResourceExhausted
from tidegate.ids import new_id
from tidegate.ports import JobSpec

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ray_cluster(backend: Backend, platform: Platform) -> Iterator[str]:
    """Its name; small, and with this machine's Python."""
    body = documented.ray_cluster()
    name = str(body["metadata"]["name"])
    pod = body["spec"]["headGroupSpec"]["template"]["spec"]
    container = pod["containers"][0]
    claims = yaml.safe_load(platform.site.read_text())["claims"]
    container |= {"image": BASE_IMAGE, "imagePullPolicy": "Never"}
    container["env"] += [{"name": key, "value": value} for key, value in python_environment().items()]
    container["resources"] = {"requests": {"cpu": "250m", "memory": "3Gi"}, "limits": {"memory": "3Gi"}}
    container["volumeMounts"] += claims  # a site's claim is written as a mount is
    pod["volumes"] += [{"name": one["name"], "persistentVolumeClaim": {"claimName": one["name"]}} for one in claims]
    backend.node.apply(body)
    wait_for(lambda: _state(backend, name) == "ready", f"RayCluster {name} is not ready", 300)
    yield name
    backend.kubectl("delete", "raycluster", name, "--wait=false")


def _job() -> JobSpec:
    return JobSpec(
        key=f"{new_id().lower()}/evaluate", entrypoint="tests.cluster.kfp.cluster_work:run", payload={}, pool="train"
    )


def _heads(backend: Backend, cluster: str) -> dict[str, str]:
    """Its pods: uids by name."""
    pods = backend.objects("pods", f"ray.io/cluster={cluster}")
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def _state(backend: Backend, cluster: str) -> str | None:
    found = {item["metadata"]["name"]: item for item in backend.objects("rayclusters")}
    state: str | None = (found.get(cluster, {}).get("status") or {}).get("state")
    return state


def test_a_job_is_done_in_a_cluster_that_is_there_and_stays(
    backend: Backend, platform: Platform, ray_cluster: str, compute: Make
) -> None:
    job, step = _job(), compute(cluster=ray_cluster)
    step.submit(job)
    lines = [line.message for line in step.follow(job.key)]
    result = step.result(job.key)
    heads = _heads(backend, ray_cluster)
    assert [line for line in lines if not line.startswith("RayJob")] == ["begun", "a worker has answered"], lines
    assert {result["driver"], result["worker"]} == set(heads)
    key = load_key(Path(platform.environment["TIDEGATE_ATTESTATION_KEY_PATH"]))
    assert result["key"] == key_id_of(key), "a report that is signed there is one that the platform believes"
    _is_deleted(backend, rayjob_name(job.key, 1))
    again = compute(cluster=ray_cluster)
    again.submit(job)
    assert again.result(job.key) == result
    assert _state(backend, ray_cluster) == "ready"
    assert _heads(backend, ray_cluster) == heads


def test_a_cluster_that_is_not_there_is_named_and_not_waited_for(backend: Backend, compute: Make) -> None:
    job, step = _job(), compute(cluster="not-there", pendingSeconds=3)
    step.submit(job)
    with pytest.raises(ResourceExhausted, match="no pod of RayCluster 'not-there'"):
        step.result(job.key)
    _is_deleted(backend, rayjob_name(job.key, 1))


def _is_deleted(backend: Backend, name: str) -> None:
    """In a moment: KubeRay lets go of a RayJob when it has told Ray to stop the job."""

    def gone() -> bool:
        return name not in {item["metadata"]["name"] for item in backend.objects("rayjobs")}

    wait_for(gone, f"RayJob {name} stays", 90)
