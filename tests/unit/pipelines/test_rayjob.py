"""RayJobs: names, manifests, attempts, and how long a job waits for its step. All of it pure or on local files."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.adapters import rayjob_main, rayjob_view
from tidegate.adapters.job_folder import Follower, JobFolder, Outcome, folder_uri, is_transient
from tidegate.adapters.kube.pods import troubles
from tidegate.adapters.rayjob_main import GPUS_VARIABLE, Watch, main
from tidegate.adapters.rayjob_manifest import JobSite, rayjob, rayjob_name
from tidegate.adapters.rayjob_view import RayJobView
from tidegate.adapters.step_compute import StepCompute
from tidegate.attestation import load_or_create_key
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import NodePool, Toleration
from tidegate.errors import Conflict, GateFailed, InvalidInput, ResourceExhausted, TidegateError, Unavailable
from tidegate.kfp_settings import JobSettings
from tidegate.ports import JobSpec, Progress
from tidegate.settings import Settings, load_settings

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


def test_a_job_s_process_knows_how_many_gpus_are_reserved_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {GPUS_VARIABLE: "9", "TIDEGATE_HOME": str(tmp_path / "home"), "TIDEGATE_PROFILE": "cluster", **ADDRESSES}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    load_or_create_key(load_settings().attestation_key_path)
    folder = JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))
    folder.claim(JOB.model_copy(update={"entrypoint": f"{__name__}:reserved", "payload": {}}))
    assert main([folder.uri, "1", "--reattach", "86400", "--abandoned", "86400", "--gpus", "2"]) == 0
    outcome = folder.outcome(1)
    assert outcome is not None
    assert outcome.unwrap() == {"gpus": 2}


def reserved(_payload: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """A job of these tests."""
    return {"gpus": load_settings().training.gpus}


# --- what a RayJob's end means ---------------------------------------------------------------------------------------


class OneRayJob:
    """An API server with one RayJob and no pods."""

    def __init__(self, **status: Any) -> None:
        self.body = rayjob(JOB, 1, "f", SITE) | {"status": {"jobDeploymentStatus": "Failed", **status}}

    def get(self, kind: Any, name: str) -> Any:
        del kind, name
        return self.body

    def list(self, kind: Any, **_: Any) -> Any:
        del kind
        return [], None


@pytest.mark.parametrize(
    ("reason", "kind", "transient", "said"),
    [
        ("DeadlineExceeded", InvalidInput, False, "did not end within 86400 s"),
        ("PreRunningDeadlineExceeded", ResourceExhausted, True, "did not begin within 1800 s"),
        ("AppFailed", Unavailable, True, r"ended without an outcome \(AppFailed\)"),
    ],
)
def test_an_end_without_an_outcome_is_tried_again_unless_it_took_too_long(
    monkeypatch: pytest.MonkeyPatch, reason: str, kind: type[TidegateError], transient: bool, said: str
) -> None:
    monkeypatch.setattr(rayjob_view, "GRACE_SECONDS", 0.0)
    api: Any = OneRayJob(reason=reason, jobStatus="STOPPED")
    _, error = rayjob_view.RayJobView(api, "r", JOBS.pending_seconds).look()
    assert type(error) is kind
    assert re.search(said, str(error))
    assert is_transient(error) is transient
    if not transient:
        assert "training.deadlineSeconds" in error.next_step


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


# --- two runs of one name at one step --------------------------------------------------------------------------------

_GO = threading.Event()


def slow_work(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A job that ends when a test says so."""
    _CALLS.append(payload)
    progress("working", {})
    assert _GO.wait(60)
    return {"calls": len(_CALLS)}


SLOW = JobSpec(key="r/prepare", entrypoint=f"{__name__}:slow_work", payload={})


@pytest.fixture
def quick(cluster: Settings) -> Settings:
    _GO.clear()
    return cluster.model_copy(update={"jobs": cluster.jobs.model_copy(update={"poll_seconds": 0.01})})


def test_of_two_runs_at_one_step_one_works_and_both_go_on_with_its_result(quick: Settings) -> None:
    first, second = StepCompute(quick, run="a"), StepCompute(quick, run="b")
    first.submit(SLOW)
    assert next(first.follow(SLOW.key)).message == "working"
    second.submit(SLOW)
    lines = second.follow(SLOW.key)
    assert "run a has the same name and works on this step" in next(lines).message
    _GO.set()
    assert first.result(SLOW.key) == {"calls": 1}
    assert [line.message[:20] for line in lines] == ["attempt 1 succeeded "]
    assert second.result(SLOW.key) == {"calls": 1}
    assert len(_CALLS) == 1


def test_the_next_pod_of_the_run_that_works_goes_on_at_once(quick: Settings) -> None:
    StepCompute(quick, run="a").submit(SLOW)  # and its pod is lost
    _GO.set()
    again = StepCompute(quick, run="a")
    again.submit(SLOW)
    assert again.result(SLOW.key)["calls"] >= 1


def test_a_run_that_fell_silent_at_a_step_is_followed_by_the_other_s_next_try(quick: Settings) -> None:
    lost = StepCompute(quick, run="a")
    lost.submit(SLOW)  # and nobody follows it any more: no beats
    waiting = StepCompute(quick, run="b", silent_seconds=0.05)
    waiting.submit(SLOW)
    with pytest.raises(Unavailable, match="run a worked on this step and has been silent"):
        waiting.result(SLOW.key)
    _GO.set()
    again = StepCompute(quick, run="b")
    again.submit(SLOW)
    assert [line.message for line in again.follow(SLOW.key)] == ["working"]
    kept = again.result(SLOW.key)
    with pytest.raises(Unavailable, match="silent"):  # what others went on with counts, also for who was slow
        lost.result(SLOW.key)
    assert JobFolder(folder_uri(quick.artifacts_uri, SLOW.key)).attempt(Clock(), 900)[1] is not None
    assert again.result(SLOW.key) == kept


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
