"""What the API server shows of a RayJob and its pods, and what its end means."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.pipelines.jobs import JOBS, Server
from tidegate.adapters import rayjob_view
from tidegate.adapters.job_folder import is_transient
from tidegate.adapters.kube.pods import troubles
from tidegate.adapters.rayjob_view import RayJobView
from tidegate.errors import InvalidInput, ResourceExhausted, TidegateError, Unavailable

# --- what the API server shows ---------------------------------------------------------------------------------------


def test_an_existing_cluster_without_pods_is_named_and_one_that_is_being_made_is_waited_for() -> None:
    waiting = {"jobDeploymentStatus": "Initializing", "rayClusterName": "made-for-it"}
    news, ended = RayJobView(Server(waiting), "j", 60).look()  # type: ignore[arg-type]
    assert news == ["RayJob j: Initializing"]
    server = Server(waiting, cluster="shared")
    news, ended = RayJobView(server, "j", 60).look()  # type: ignore[arg-type]
    assert news[1:] == ["there is no pod of RayCluster 'shared' (training.cluster) in namespace 'runs'"]
    assert ended is None
    assert server.asked == ["ray.io/cluster=shared"]


def test_the_end_of_a_long_log_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayjob_view, "GRACE_SECONDS", 0.0)
    log = "Job entrypoint command failed with exit code 1, last available logs:\n" + "x\n" * 5000
    status = {"jobDeploymentStatus": "Failed", "message": f"{log}ModuleNotFoundError: No module named 'tidegate'\n"}
    news, ended = RayJobView(Server(status), "j", 60).look()  # type: ignore[arg-type]
    for told in (news[0], str(ended)):
        assert "exit code 1" in told
        assert "No module named 'tidegate'" in told
        assert len(told) < 1200


# --- what a RayJob's end means ---------------------------------------------------------------------------------------


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
    server = Server({"jobDeploymentStatus": "Failed", "reason": reason, "jobStatus": "STOPPED"})
    _, error = RayJobView(server, "r", JOBS.pending_seconds).look()  # type: ignore[arg-type]
    assert type(error) is kind
    assert re.search(said, str(error))
    assert is_transient(error) is transient
    if not transient:
        assert "training.deadlineSeconds" in error.next_step


def test_a_training_that_ran_out_of_memory_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayjob_view, "GRACE_SECONDS", 0.0)
    killed = "container ray-head of pod p ran out of memory (OOMKilled)"
    server = Server({"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": killed})
    _, error = RayJobView(server, "r", JOBS.pending_seconds).look()  # type: ignore[arg-type]
    assert isinstance(error, InvalidInput)
    assert not is_transient(error)
    assert "more memory" in error.next_step
    server.body["spec"]["clusterSelector"] = {"ray.io/cluster": "shared"}
    _, error = RayJobView(server, "r", JOBS.pending_seconds).look()  # type: ignore[arg-type]
    assert isinstance(error, Unavailable), "of a cluster that others use, it may be anybody's, and long ago"


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
