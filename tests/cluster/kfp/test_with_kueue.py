"""Training jobs that wait in a queue of the real Kueue, whose quota is one job's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.cluster.installation import RELEASE
from tests.cluster.kfp.backend import NAMESPACE, Backend, script, wait_for
from tests.cluster.kfp.jobs import Make
from tests.cluster.kfp.platform import POOL, Platform
from tests.cluster.node import CannotRun
from tidegate.adapters.rayjob_compute import RayJobCompute
from tidegate.adapters.rayjob_manifest import rayjob_name
from tidegate.domain.node_pools import NodePool
from tidegate.errors import ResourceExhausted
from tidegate.ids import new_id
from tidegate.ports import JobSpec

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
QUEUE = "training"
_ONE_JOB = "300m"
"""More than a pool's pod, and less than two."""


@pytest.fixture(scope="module")
def kueue(backend: Backend, platform: Platform) -> Iterator[None]:
    try:
        script("hack/kueue/up.sh")
    except CannotRun as why:
        pytest.skip(f"no Kueue: {why}")
    yield
    backend.kubectl("delete", "rayjobs", "--all", "--timeout=60s")
    script("hack/kueue/down.sh")


def _queue(cpu: str) -> list[dict[str, Any]]:
    """A queue with so much quota, as a platform team writes it; a more important job takes a lesser one's place."""
    quotas = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "100Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "plain", "resources": quotas}]}
    version = "kueue.x-k8s.io/v1beta2"
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [group],
    }
    return [
        {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "plain"}},
        {"apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": "tidegate"}, "spec": spec},
        {
            "apiVersion": version,
            "kind": "LocalQueue",
            "metadata": {"name": QUEUE, "namespace": NAMESPACE},
            "spec": {"clusterQueue": "tidegate"},
        },
    ]


@pytest.fixture
def pools(backend: Backend) -> dict[str, NodePool]:
    """That of the platform, with this queue, with one that nobody made, and for work that is urgent."""
    text = backend.node.get("configmap", f"{RELEASE}-node-pools", NAMESPACE)["data"]["node-pools.yaml"]
    pool = NodePool.model_validate(yaml.safe_load(text)[POOL])
    return {
        "queued": pool.model_copy(update={"kueue_queue": QUEUE}),
        "nowhere": pool.model_copy(update={"kueue_queue": "not-there"}),
        "urgent": pool.model_copy(update={"kueue_queue": QUEUE, "priority_class_name": "urgent"}),
    }


@dataclass
class Followed:
    """A job, and what its step has said so far."""

    job: JobSpec
    step: RayJobCompute
    lines: list[str] = field(default_factory=list)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.step.submit(self.job)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        self.lines.extend(line.message for line in self.step.follow(self.job.key))

    def says(self, words: str, seconds: float = 300, *, times: int = 1) -> None:
        def look() -> bool:
            return sum(words in line for line in list(self.lines)) >= times

        wait_for(look, f"nobody says {words!r}: {self.lines}", seconds)

    def result(self) -> dict[str, Any]:
        self._thread.join(400)
        return self.step.result(self.job.key)


def _job(pool: str, **payload: Any) -> JobSpec:
    key = f"{new_id().lower()}/fine-tune"
    return JobSpec(
        key=key, entrypoint="tests.cluster.kfp.cluster_work:wait", payload=payload, pool="train", node_pool=pool
    )


def test_a_job_waits_until_there_is_room_and_says_for_what(
    backend: Backend, kueue: None, compute: Make, pools: dict[str, NodePool], platform: Platform
) -> None:
    backend.node.apply(*_queue("0"))
    queued = Followed(_job("queued"), compute(pools=pools))
    name = rayjob_name(queued.job.key, 1)
    queued.says(f"RayJob {name} waits in Kueue's queue '{QUEUE}': couldn't assign flavors to pod set head")
    assert _pods(backend, name) == []
    backend.node.apply(*_queue(_ONE_JOB))
    assert queued.result() == {"times": 1}
    assert not [line for line in queued.lines if "does not hold" in line]


def test_a_more_important_job_takes_the_place_and_gives_it_back(
    backend: Backend, kueue: None, compute: Make, pools: dict[str, NodePool], platform: Platform
) -> None:
    backend.node.apply(*_queue(_ONE_JOB), _priority_class())
    times, go = platform.data / "times", platform.data / "go"
    lesser = Followed(_job("queued", times=str(times), until=str(go)), compute(pools=pools))
    lesser.says("begun")
    urgent = Followed(_job("urgent"), compute(pools=pools))
    lesser.says(f"waits in Kueue's queue '{QUEUE}': evicted (Preempted)")
    assert urgent.result() == {"times": 1}
    lesser.says("begun", times=2)
    go.touch()
    assert lesser.result() == {"times": 2}, "of one attempt: pods that Kueue took are no failure"
    assert lesser.lines[-1] == "done"


def test_a_queue_that_nobody_made_is_named(
    backend: Backend, kueue: None, compute: Make, pools: dict[str, NodePool]
) -> None:
    step = compute(pools=pools, pendingSeconds=60)
    job = _job("nowhere")
    step.submit(job)
    with pytest.raises(ResourceExhausted, match=r"queue 'not-there': LocalQueue not-there doesn't exist"):
        step.result(job.key)


def _priority_class() -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "urgent"},
        "value": 1000,
        "preemptionPolicy": "Never",
    }


def _pods(backend: Backend, name: str) -> list[Any]:
    return backend.objects("pods", f"tidegate.dev/job={name}")
