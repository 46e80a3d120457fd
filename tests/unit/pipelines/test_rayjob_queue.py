"""A job that waits in Kueue's queue says why, and for how long that may go on."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.unit.pipelines.jobs import Server
from tidegate.adapters.kube.api import NotThere
from tidegate.adapters.rayjob_view import RayJobView
from tidegate.errors import Denied, ResourceExhausted, Unavailable

SUSPENDED = {"jobDeploymentStatus": "Suspended"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
NO_ROOM = {
    "type": "QuotaReserved",
    "status": "False",
    "reason": "Pending",
    "message": "couldn't assign flavors to pod set head: insufficient unused quota for cpu in flavor l4, 8 more needed",
}
NO_QUEUE = {
    "type": "QuotaReserved",
    "status": "False",
    "reason": "Inadmissible",
    "message": "LocalQueue team-a doesn't exist",
}


def workload(*conditions: dict[str, Any], active: bool = True, **status: Any) -> dict[str, Any]:
    return {"spec": {"active": active}, "status": {"conditions": list(conditions), **status}}


def waiting(found: Any, pending_seconds: float = 60) -> tuple[Server, RayJobView]:
    server = Server(SUSPENDED, queue="team-a", workload=found)
    return server, RayJobView(server, "j", pending_seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (workload(NO_ROOM), ": couldn't assign flavors to pod set head"),
        (workload(NO_QUEUE), ": LocalQueue team-a doesn't exist"),
        (workload(NO_ROOM, active=False), ": its Workload is deactivated"),
        (workload(), ": it is not its turn yet"),
        (
            workload(
                {"type": "QuotaReserved", "status": "True"},
                admissionChecks=[{"name": "budget", "state": "Pending", "message": "asks"}, {"state": "Ready"}],
            ),
            ": there is room; admission checks: budget Pending: asks",
        ),
        (
            workload(NO_ROOM, {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "to make room"}),
            ": evicted (Preempted): to make room; couldn't assign",
        ),
        (None, ""),
        (Denied("no"), ""),
    ],
)
def test_what_kueue_says_is_told_once(found: Any, said: str) -> None:
    server, view = waiting(found)
    news, ended = view.look()
    assert news[0] == "RayJob j: Suspended"
    assert news[1].startswith(f"RayJob j waits in Kueue's queue 'team-a'{said}")
    assert ended is None
    assert view.look() == ([], None)
    assert "kueue.x-k8s.io/job-uid=u1" in server.asked


def test_a_queue_may_be_long_and_one_that_is_not_there_is_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    server, view = waiting(workload(NO_ROOM))
    for _ in range(3):
        assert view.look()[1] is None
        now[0] += 3600
    server.workload = workload(NO_QUEUE)
    error = view.look()[1]
    assert isinstance(error, ResourceExhausted)
    assert "LocalQueue team-a doesn't exist" in str(error)
    assert view.look()[1] is not None, "as often as it is looked at, until the outcome is on record"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (NotThere("workloads"), "this cluster has no Kueue"),
        (None, "Kueue keeps no account of it; does it integrate RayJobs?"),
        (workload({"type": "QuotaReserved", "status": "True"}), ""),
        (Unavailable("not now"), ""),
    ],
)
def test_a_queue_that_holds_nothing_back_is_told(found: Any, said: str) -> None:
    server = Server(RUNNING, queue="team-a", workload=found)
    view = RayJobView(server, "j", 60)  # type: ignore[arg-type]
    news, ended = view.look()
    assert news[1:] == ([f"queue 'team-a' of the node pool does not hold RayJob j back: {said}"] if said else [])
    assert ended is None
    assert view.look()[0] == []
    assert server.asked.count("kueue.x-k8s.io/job-uid=u1") <= 2, "it is asked for once, in two versions"


def test_without_a_queue_nobody_asks_kueue() -> None:
    for status in (SUSPENDED, RUNNING):
        server = Server(status, workload=NotThere("workloads"))
        assert len(RayJobView(server, "j", 60).look()[0]) == 1  # type: ignore[arg-type]
        assert server.asked == []


def test_a_job_that_a_queue_takes_out_again_has_its_patience_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    server, view = waiting(workload(NO_ROOM))
    server.body["status"] = RUNNING
    for _ in range(2):
        assert view.look()[1] is None
        now[0] += 3600
    assert view.look()[1] is None
    server.body["status"], server.workload = SUSPENDED, workload(NO_QUEUE)
    assert view.look()[1] is None, "it ran until now"
    now[0] += 61
    assert isinstance(view.look()[1], ResourceExhausted)
