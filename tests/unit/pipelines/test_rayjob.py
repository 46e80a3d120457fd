"""RayJobs: names, manifests, attempts, and how long a job waits for its step. All of it pure or on local files."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.adapters import rayjob_main, rayjob_view
from tidegate.adapters.job_folder import Follower, JobFolder, Outcome, folder_uri
from tidegate.adapters.kube.pods import troubles
from tidegate.adapters.rayjob_main import Watch
from tidegate.adapters.rayjob_manifest import JobSite, rayjob, rayjob_name
from tidegate.adapters.rayjob_view import RayJobView
from tidegate.adapters.step_compute import StepCompute
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import NodePool, Toleration
from tidegate.errors import Conflict, GateFailed, InvalidInput, TidegateError, Unavailable
from tidegate.kfp_settings import JobSettings
from tidegate.ports import JobSpec, Progress
from tidegate.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
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


# --- what the API server shows ---------------------------------------------------------------------------------------


class _Server:
    """A RayJob and the pods of the namespace, as they are now."""

    namespace = "runs"

    def __init__(self, status: dict[str, Any], cluster: str = "") -> None:
        self.body = {"spec": {"clusterSelector": {"ray.io/cluster": cluster}} if cluster else {}, "status": status}
        self.asked: list[str] = []

    def get(self, *_: object) -> dict[str, Any]:
        return self.body

    def list(self, _kind: object, *, labels: str) -> tuple[list[dict[str, Any]], str]:
        self.asked.append(labels)
        return [], "1"


def test_an_existing_cluster_without_pods_is_named_and_one_that_is_being_made_is_waited_for() -> None:
    waiting = {"jobDeploymentStatus": "Initializing", "rayClusterName": "made-for-it"}
    news, ended = RayJobView(_Server(waiting), "j", 60).look()  # type: ignore[arg-type]
    assert news == ["RayJob j: Initializing"]
    server = _Server(waiting, cluster="shared")
    news, ended = RayJobView(server, "j", 60).look()  # type: ignore[arg-type]
    assert news[1:] == ["there is no pod of RayCluster 'shared' (training.cluster) in namespace 'runs'"]
    assert ended is None
    assert server.asked == ["ray.io/cluster=shared"]


def test_the_end_of_a_long_log_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayjob_view, "GRACE_SECONDS", 0.0)
    log = "Job entrypoint command failed with exit code 1, last available logs:\n" + "x\n" * 5000
    status = {"jobDeploymentStatus": "Failed", "message": f"{log}ModuleNotFoundError: No module named 'tidegate'\n"}
    news, ended = RayJobView(_Server(status), "j", 60).look()  # type: ignore[arg-type]
    for told in (news[0], str(ended)):
        assert "exit code 1" in told
        assert "No module named 'tidegate'" in told
        assert len(told) < 1200


# --- what a job's pod must have --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "TIDEGATE_PROFILE is 'local'"),
        ({"TIDEGATE_PROFILE": "cluster"}, "needs"),
        ({"TIDEGATE_PROFILE": "cluster", **ADDRESSES}, "the key that signs evaluation reports is not at"),
    ],
)
def test_a_job_begins_only_where_it_finds_what_the_pipelines_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in {**variables, "TIDEGATE_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    folder = JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))
    folder.claim(JOB)
    argv = [folder.uri, "1", "--reattach", "300", "--abandoned", "900"]
    assert rayjob_main.main(argv) == 1
    outcome = folder.outcome(1)
    assert outcome is not None
    with pytest.raises(Unavailable, match=re.escape(said)) as caught:
        outcome.unwrap()
    assert "training.cluster" in caught.value.next_step
    assert outcome.transient, "once it is mended, a retry goes on at once"
    assert not (tmp_path / "home" / "secrets" / "attestation.key").exists(), "a key made here would verify nothing"


def test_a_store_that_cannot_be_read_is_told_in_the_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    argv = [f"gopher://nowhere/{tmp_path.name}", "1", "--reattach", "300", "--abandoned", "900"]
    assert rayjob_main.main(argv) == 1
    assert capsys.readouterr().out.startswith("error: ")


# --- attempts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))


def _ended(error: TidegateError, at: datetime = NOW) -> Outcome:
    return Outcome.of_error(error, at)


def test_a_key_is_one_piece_of_work(folder: JobFolder) -> None:
    folder.claim(JOB)
    folder.claim(JOB.model_copy(update={"node_pool": "cpu"}))  # where it runs is no part of the work
    with pytest.raises(Conflict, match="another entrypoint"):
        folder.claim(JOB.model_copy(update={"payload": {"other": 1}}))


def test_infrastructure_is_tried_again_and_a_verdict_is_told_again(folder: JobFolder) -> None:
    clock = Clock()
    assert folder.attempt(clock, 900) == (1, None)
    folder.end(1, _ended(Unavailable("lost")))
    assert folder.attempt(clock, 900) == (2, None)
    verdict = _ended(GateFailed("no"))
    folder.end(2, verdict)
    assert folder.attempt(clock, 900) == (2, verdict)
    clock.sleep(901)
    assert folder.attempt(clock, 900) == (3, None), "somebody who asks so late has mended something"
    done = Outcome(state="succeeded", time=NOW, result={"a": 1})
    folder.end(3, done)
    assert folder.attempt(clock, 900) == (3, done)
    assert folder.succeeded() == done


def test_followers_and_progress_are_found_again(folder: JobFolder) -> None:
    assert folder.follower(1) is None
    folder.follow(1, Follower(beat=3, leaving=True))
    assert folder.follower(1) == Follower(beat=3, leaving=True)
    assert folder.said(1, 1) is None


_CALLS: list[dict[str, Any]] = []


def work(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A job of these tests."""
    _CALLS.append(payload)
    progress("working", {})
    if payload.get("fail") == "gate":
        raise GateFailed("the gate says no")
    if payload.get("fail") == "lost" and len(_CALLS) == 1:
        raise Unavailable("the store is away")
    return {"calls": len(_CALLS)}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    _CALLS.clear()
    for name in ("MLFLOW_URI", "RAY_ADDRESS", "RAY_DASHBOARD_URL", "ENGINE_URL", "GATEWAY_URL", "RECEIVER_URL"):
        monkeypatch.setenv(f"TIDEGATE_{name}", "http://nowhere.invalid")
    monkeypatch.setenv("TIDEGATE_INFERENCE_LOG__URI", str(tmp_path / "log"))
    given = {"home": tmp_path / "home", "artifacts_uri": str(tmp_path / "a"), "database_url": "sqlite://"}
    return Settings.model_validate({"profile": "cluster", **given})


def _carried_out(settings: Settings, payload: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    compute = StepCompute(settings)  # a new process, as after a lost pod
    compute.submit(JobSpec(key="r/prepare", entrypoint=f"{__name__}:work", payload=payload))
    lines = [line.message for line in compute.follow("r/prepare")]
    return lines, compute.result("r/prepare")


def test_a_step_that_is_tried_again_after_it_succeeded_does_nothing_twice(cluster: Settings) -> None:
    assert _carried_out(cluster, {}) == (["working"], {"calls": 1})
    lines, result = _carried_out(cluster, {})
    assert result == {"calls": 1}
    assert lines[0].startswith("attempt 1 succeeded at")
    with pytest.raises(Conflict):
        _carried_out(cluster, {"other": 1})


def test_a_verdict_is_told_to_every_try_and_a_loss_is_mended_by_the_next(cluster: Settings) -> None:
    for _ in range(2):
        with pytest.raises(GateFailed, match="says no"):
            _carried_out(cluster, {"fail": "gate"})
    assert len(_CALLS) == 1


def test_a_loss_is_mended_by_the_next_try(cluster: Settings) -> None:
    with pytest.raises(Unavailable):
        _carried_out(cluster, {"fail": "lost"})
    assert _carried_out(cluster, {"fail": "lost"})[1] == {"calls": 2}


# --- how long a job waits for its step -------------------------------------------------------------------------------


def test_a_job_that_is_followed_never_ends_itself() -> None:
    now = [0.0]
    watch = Watch(300, 900, lambda: now[0])
    for beat in range(1000):
        now[0] += 600
        assert watch.look((beat, False)) is None


@given(st.floats(1, 1000), st.floats(1, 1000), st.booleans())
def test_a_job_that_nobody_follows_ends_itself_after_its_patience(
    reattach: float, abandoned: float, leaving: bool
) -> None:
    now = [0.0]
    watch = Watch(reattach, abandoned, lambda: now[0])
    assert watch.look((1, leaving)) is None
    patience = reattach if leaving else abandoned
    now[0] = patience * 0.99
    assert watch.look((1, leaving)) is None
    now[0] = patience * 1.01
    why = watch.look((1, leaving))
    assert why is not None
    assert ("told to stop" in why) is leaving


def test_the_step_s_next_pod_keeps_a_job_that_was_left() -> None:
    now = [0.0]
    watch = Watch(300, 900, lambda: now[0])
    watch.look((1, True))
    now[0] = 299
    assert watch.look((2, False)) is None  # the next pod
    now[0] = 299 + 899
    assert watch.look((2, False)) is None
    now[0] = 299 + 901
    assert watch.look((2, False)) is not None


# --- what pods say ---------------------------------------------------------------------------------------------------


def _pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": status}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient gpu"}]},
            "pod p finds no node: 0/3 nodes: Insufficient gpu",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "c", "image": "x:1", "state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}
                ]
            },
            "image x:1 of pod p cannot be pulled: ErrImagePull: denied",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "c",
                        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}},
                    }
                ]
            },
            "container c of pod p does not start: CreateContainerConfigError: no secret",
        ),
        (
            {"containerStatuses": [{"name": "c", "state": {"terminated": {"reason": "OOMKilled"}}}]},
            "container c of pod p ran out of memory (OOMKilled)",
        ),
        ({"reason": "Evicted", "message": "disk"}, "pod p was ended: Evicted: disk"),
    ],
)
def test_pods_say_what_keeps_them(status: dict[str, Any], said: str) -> None:
    assert troubles([_pod(**status)]) == [said]


def test_a_pod_that_is_well_says_nothing() -> None:
    starting = {"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}
    assert (
        troubles([_pod(containerStatuses=[starting]), _pod(conditions=[{"type": "PodScheduled", "status": "True"}])])
        == []
    )
