"""Training jobs on KubeRay: one piece of work whoever follows it, and every reason why it does not come to its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kube_api import KubeApi
from tests.kuberay_jobs import RayJobStandIn
from tidegate.adapters import rayjob_view
from tidegate.adapters.job_folder import JobFolder, folder_uri
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.rayjob_compute import RayJobCompute
from tidegate.adapters.rayjob_manifest import RAY_JOB, JobSite, rayjob_name
from tidegate.domain.node_pools import NodePool
from tidegate.errors import Conflict, GateFailed, NotFound, ResourceExhausted, Unavailable
from tidegate.ports import JobSpec
from tidegate.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
KEY = "run-1/fine-tune"
NAME = rayjob_name(KEY, 1)
Make = Callable[..., RayJobCompute]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayjob_view, "GRACE_SECONDS", 0.5)


@pytest.fixture
def client(kuberay: KubeApi, namespace: str) -> Client:
    return Client.from_kubeconfig(kuberay.kubeconfig("admin", namespace), namespace, seconds=60.0)


@pytest.fixture
def compute(client: Client, settings: Settings) -> Make:
    """Each call is a step's next pod."""

    def make(api: Client | None = None, **jobs: Any) -> RayJobCompute:
        chosen = settings.model_copy(update={"jobs": settings.jobs.model_copy(update=jobs)})
        site = JobSite(jobs=chosen.jobs, cluster=chosen.cluster, pools={"cpu": NodePool()})
        return RayJobCompute(api or client, chosen, site)

    return make


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    return JobSpec(
        key=KEY,
        entrypoint="tests.integration.rayjobs.work:run",
        payload={"times": str(tmp_path / "times")},
        pool="train",
    )


def _with(job: JobSpec, **more: Any) -> JobSpec:
    return job.model_copy(update={"payload": {**job.payload, **more}})


def _times(job: JobSpec) -> int:
    path = Path(job.payload["times"])
    return len(path.read_text().split()) if path.exists() else 0


def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _followed(step: RayJobCompute, waiting: JobSpec) -> list[str]:
    """What is told of a job that ends once it was seen to run: a shorter one may be over before anybody looks."""
    step.submit(waiting)
    lines = []
    for line in step.follow(KEY):
        lines.append(line.message)
        if line.message == f"RayJob {NAME}: Running":
            Path(waiting.payload["until"]).touch()
    return lines


def test_a_job_is_carried_out_and_cleaned_up(
    operator: RayJobStandIn, compute: Make, client: Client, job: JobSpec, tmp_path: Path
) -> None:
    step, waiting = compute(), _with(job, until=str(tmp_path / "go"))
    lines = _followed(step, waiting)
    assert [line for line in lines if not line.startswith("RayJob")] == ["begun", "nearly done"]
    assert f"RayJob {NAME}: Running" in lines
    assert step.result(KEY) == {"times": 1}
    assert client.get(RAY_JOB, NAME) is None
    again = compute()
    again.submit(waiting)
    assert again.result(KEY) == {"times": 1}
    assert _times(job) == 1


def test_a_queue_of_a_cluster_without_kueue_is_told_to_hold_nothing_back(
    operator: RayJobStandIn, client: Client, settings: Settings, job: JobSpec, tmp_path: Path
) -> None:
    pools = {"cpu": NodePool(kueue_queue="training")}
    step = RayJobCompute(client, settings, JobSite(jobs=settings.jobs, cluster=settings.cluster, pools=pools))
    lines = _followed(step, _with(job, until=str(tmp_path / "go")))
    assert f"queue 'training' of the node pool does not hold RayJob {NAME} back: this cluster has no Kueue" in lines
    assert step.result(KEY) == {"times": 1}


def test_a_step_whose_pod_was_lost_finds_its_job(
    operator: RayJobStandIn, compute: Make, job: JobSpec, tmp_path: Path
) -> None:
    waiting = _with(job, until=str(tmp_path / "go"))
    lost = compute()
    lost.submit(waiting)
    assert any(line.message == "begun" for line in lost.follow(KEY)), "it follows, and then its pod is gone"
    found = compute()
    found.submit(waiting)
    (tmp_path / "go").touch()
    lines = [line.message for line in found.follow(KEY)]
    assert [line for line in lines if not line.startswith("RayJob")] == ["begun", "nearly done"], "from the beginning"
    assert found.result(KEY) == {"times": 1}
    assert list(operator.jobs) == [NAME]
    with pytest.raises(Conflict):
        compute().submit(_with(waiting, more=1))


def test_a_gate_s_no_comes_back_as_it_was_said_and_is_not_asked_again(
    operator: RayJobStandIn, compute: Make, job: JobSpec
) -> None:
    for _ in range(2):
        step = compute()
        step.submit(_with(job, gate=True))
        with pytest.raises(GateFailed, match=r"exact_match 0\.4 is below 0\.6") as caught:
            step.result(KEY)
        assert caught.value.next_step == "Train longer."
    assert _times(job) == 1


def test_pods_that_were_lost_are_another_attempt(
    operator: RayJobStandIn, compute: Make, job: JobSpec, tmp_path: Path
) -> None:
    waiting = _with(job, until=str(tmp_path / "go"))
    step = compute()
    step.submit(waiting)
    _until(lambda: _times(job) == 1)
    operator.jobs[NAME].kill()
    with pytest.raises(Unavailable, match="ended without an outcome"):
        step.result(KEY)
    (tmp_path / "go").touch()
    again = compute()
    again.submit(waiting)
    assert again.result(KEY) == {"times": 2}
    assert list(operator.jobs) == [NAME, rayjob_name(KEY, 2)]


def test_a_rayjob_that_somebody_deleted_is_not_begun_again(
    operator: RayJobStandIn, compute: Make, client: Client, job: JobSpec, tmp_path: Path
) -> None:
    waiting = _with(job, until=str(tmp_path / "never"))
    step = compute()
    step.submit(waiting)
    _until(lambda: _times(job) == 1)
    client.delete(RAY_JOB, NAME)
    with pytest.raises(Conflict, match="was deleted before it ended"):
        step.result(KEY)
    again = compute()
    again.submit(waiting)
    with pytest.raises(Conflict, match="was deleted before it ended") as caught:
        again.result(KEY)
    assert "start a run" in caught.value.next_step
    _until(lambda: operator.jobs[NAME].poll() is not None)
    assert list(operator.jobs) == [NAME]


def test_a_job_that_nobody_follows_ends_itself(
    operator: RayJobStandIn, compute: Make, settings: Settings, job: JobSpec, tmp_path: Path
) -> None:
    waiting = _with(job, until=str(tmp_path / "never"))
    compute(abandoned_seconds=1).submit(waiting)
    folder = JobFolder(folder_uri(settings.artifacts_uri, KEY))
    _until(lambda: folder.outcome(1) is not None)
    step = compute()
    with pytest.raises(Unavailable, match="no step has followed this job for 1 s"):
        folder.outcome(1).unwrap()  # type: ignore[union-attr]
    (tmp_path / "never").touch()
    step.submit(waiting)
    assert step.result(KEY) == {"times": _times(job)}  # 1 where the first was given up before it began
    assert list(operator.jobs) == [NAME, rayjob_name(KEY, 2)], "the next try begins anew"


def test_sigterm_leaves_the_job_to_the_step_s_next_pod(
    operator: RayJobStandIn, compute: Make, settings: Settings, job: JobSpec, tmp_path: Path
) -> None:
    waiting = _with(job, until=str(tmp_path / "go"))
    step = compute()
    step.submit(waiting)

    def follow() -> None:
        for line in step.follow(KEY):
            if line.message == "begun":
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stopped:
        follow()
    assert stopped.value.code == 143
    follower = JobFolder(folder_uri(settings.artifacts_uri, KEY)).follower(1)
    assert follower is not None
    assert follower.leaving
    assert operator.jobs[NAME].poll() is None, "it trains on"
    found = compute()
    found.submit(waiting)
    (tmp_path / "go").touch()
    assert found.result(KEY) == {"times": 1}


def test_a_job_that_does_not_begin_is_given_up_with_what_is_known(compute: Make, client: Client, job: JobSpec) -> None:
    step = compute(pending_seconds=1)  # and no operator runs
    step.submit(job)
    with pytest.raises(ResourceExhausted, match="did not begin within 1 s"):
        step.result(KEY)
    assert client.get(RAY_JOB, NAME) is None


def test_a_cluster_without_kuberay_says_what_is_missing(kuberay: KubeApi, compute: Make, job: JobSpec) -> None:
    nowhere = Client.from_kubeconfig(kuberay.kubeconfig("admin", "not-there"), "not-there")
    with pytest.raises(NotFound, match="takes no RayJobs") as caught:
        compute(nowhere).submit(job)
    assert "Install KubeRay" in caught.value.next_step
