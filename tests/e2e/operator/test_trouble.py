"""What goes wrong around a rollout: operators that die or sleep, parts that are away, a status that is lost.

`TIDEGATE_OUTAGE_SECONDS` sets how long parts are away (seconds in CI; the acceptance guide asks for ten minutes).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from serving.controller.loop import LEASE
from tests.e2e.operator.platform import Cluster
from tests.integration.engines.platform import until
from tests.model_manifests import NAME, RUNTIME, deployment
from tests.model_versions import messages
from tests.ports import free_port
from tidegate.local.demo.traffic import TrafficDriver

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
_JUDGED = ("Shadow", "Step")
"""A shadow passes in seconds when traffic is good; the step after it waits for a person."""
OUTAGE_SECONDS = float(os.environ.get("TIDEGATE_OUTAGE_SECONDS", "12"))


@pytest.fixture(autouse=True)
def serving(platform: Cluster) -> None:
    if not platform.status.get("stable"):
        pytest.fail("test_operator.py leaves a version serving; run the whole folder")


@contextmanager
def users(platform: Cluster) -> Iterator[TrafficDriver]:
    """Live traffic; not one request may fail."""
    driver = platform.driver()
    with driver.background(messages(f"user-{time.monotonic_ns()}")):
        yield driver
    assert driver.tally.answers
    assert driver.tally.failed == []


def holder(platform: Cluster) -> str:
    return str(platform.get("lease", LEASE)["spec"]["holderIdentity"])


def routing(platform: Cluster) -> dict[str, Any]:
    spec: dict[str, Any] = platform.get("modelrouting", NAME)["spec"]
    return spec


def degraded(platform: Cluster) -> bool:
    """Whether the gateway is ready and misses the API server; a probe gives a busy engine one second."""
    try:
        ready = httpx.get(f"{platform.settings.gateway_url}/readyz", trust_env=False, timeout=30)
    except httpx.TransportError:
        return False
    said = ready.json()
    return (ready.status_code, said["status"]) == (200, "degraded") and "does not answer" in said["stores"]["routing"]


def metrics(port: int) -> str:
    """What an operator tells Prometheus; nothing before it listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:
        return ""


def written_by(platform: Cluster, manager: str, since: datetime) -> list[str]:
    """Objects that carry a write of this operator from that time on: the API server's own record."""
    found = []
    for kind in (
        "modeldeployment",
        "modelruntime",
        "modelrouting",
        "modelrollout",
        "rolloutaction",
        "rayservice",
        "lease",
    ):
        done = platform.api.kubectl("get", kind, "-o", "json", "--show-managed-fields", namespace=platform.namespace)
        for body in httpx.Response(200, text=done.stdout).json()["items"]:
            for entry in body["metadata"].get("managedFields", ()):
                if entry["manager"] == manager and datetime.fromisoformat(entry["time"]) >= since:
                    found.append(f"{kind}/{body['metadata']['name']}")
    events = platform.list("events.events.k8s.io")
    found += [
        f"event {body['reason']}"
        for body in events
        if body.get("reportingInstance") == manager and datetime.fromisoformat(body["eventTime"]) >= since
    ]
    return found


def test_an_operator_that_is_killed_in_mid_rollout_goes_on_and_does_nothing_twice(platform: Cluster) -> None:
    stable = platform.status["stable"]
    with users(platform):
        platform.versions.nominate(platform.versions.register_again("same"))
        seen = platform.until("pairs come in", lambda status: status["phase"] in _JUDGED and status["pairs"] > 2)
        epoch, pairs = seen["epoch"], seen["pairs"]
        platform.processes.kill("operator")
        platform.processes.start("operator", "serving.operator")
        platform.until("it goes on", lambda status: status["epoch"] > epoch or status["pairs"] > pairs + 9, seconds=120)
        platform.ask("Abort", "alice", reason="a drill")
        status = platform.phase("RolledBack")
    assert status["stable"] == stable
    published = [e.payload["table"]["epoch"] for e in platform.ledger.entries(kind="routing.published", subject=NAME)]
    assert published == sorted(set(published))
    assert published[-1] == routing(platform)["epoch"]


def test_an_operator_that_slept_past_its_lease_writes_nothing_more(platform: Cluster) -> None:
    first, port = holder(platform), free_port()
    platform.processes.start("standby", "serving.operator", TIDEGATE_CLUSTER__METRICS_PORT=str(port))
    until("the standby runs", lambda: "tidegate_operator_leading 0.0" in metrics(port), seconds=90)
    assert holder(platform) == first
    platform.processes.signal("operator", signal.SIGSTOP)
    try:
        until("the standby leads", lambda: holder(platform) not in {first, ""}, seconds=90)
        second = holder(platform)
        with users(platform):
            platform.versions.nominate(platform.versions.register_again("same"))
            platform.phase(*_JUDGED)
            time.sleep(1)  # managedFields count in seconds
            since = datetime.now(UTC)
            platform.processes.signal("operator", signal.SIGCONT)
            platform.until("pairs come in", lambda status: status["pairs"] > 5)
            time.sleep(3)  # six of its rounds
            assert written_by(platform, first, since) == []
            assert written_by(platform, second, since) != []
            assert holder(platform) == second
            platform.ask("Abort", "bob")
            platform.phase("RolledBack")
    finally:
        platform.processes.signal("operator", signal.SIGCONT)
    platform.processes.kill("standby")
    until("the first leads again", lambda: holder(platform) == first, seconds=90)


def test_users_do_not_notice_that_the_api_server_is_away(platform: Cluster) -> None:
    before = routing(platform)
    with users(platform):
        platform.api.kill()
        time.sleep(OUTAGE_SECONDS)
        until("the gateway serves and says what is away", lambda: degraded(platform), seconds=60)
        platform.api.start()
    after = routing(platform)
    assert (after["epoch"], after["arms"]) == (before["epoch"], before["arms"])
    with users(platform):
        platform.versions.nominate(platform.versions.register_again("same"))
        platform.phase(*_JUDGED)
        platform.ask("Abort", "alice")
        platform.phase("RolledBack")


def test_a_registry_that_is_away_is_a_condition_and_an_event_and_traffic_stays(platform: Cluster) -> None:
    before = routing(platform)
    with users(platform):
        platform.mlflow.stop()
        platform.until("it is said", lambda status: platform.condition("Degraded", status)["status"] == "True")
        said = platform.condition("Degraded", platform.status)["message"]
        time.sleep(OUTAGE_SECONDS)
        assert routing(platform)["epoch"] == before["epoch"]
        platform.mlflow.start()
        platform.until("it is over", lambda status: platform.condition("Degraded", status)["status"] == "False")
    assert "MLflow" in said
    until("the Events are there", lambda: {"Degraded", "Recovered"} <= platform.reasons(), seconds=60)


def test_a_status_that_was_lost_is_rebuilt_from_the_routing(platform: Cluster) -> None:
    stable = platform.status["stable"]
    body = platform.get("modeldeployment", NAME)
    empty = {**body, "status": {"leaderEpoch": body["status"]["leaderEpoch"]}}
    path = f"/apis/tidegate.dev/v1alpha1/namespaces/{platform.namespace}/modeldeployments/{NAME}/status"
    with users(platform):
        while platform.api.request("PUT", path, empty).status_code == 409:
            empty["metadata"]["resourceVersion"] = platform.get("modeldeployment", NAME)["metadata"]["resourceVersion"]
        status = platform.until("it is there again", lambda status: status.get("stable") is not None)
    assert status["stable"] == stable


def test_what_is_deleted_goes_and_comes_back_with_a_higher_epoch(platform: Cluster) -> None:
    epoch = routing(platform)["epoch"]
    platform.versions.nominate(platform.status["stable"])
    platform.api.kubectl("delete", "modeldeployment", NAME, "--timeout=60s", namespace=platform.namespace)
    gone = routing(platform)
    assert gone["removed"] is True
    assert gone["epoch"] > epoch
    driver = platform.driver()
    until("the gateway has taken it out", lambda: not driver.serves(), seconds=60)
    platform.apply(deployment())
    platform.phase("Succeeded")
    until("the gateway serves it again", driver.serves, seconds=60)
    assert routing(platform)["epoch"] > gone["epoch"]


def test_a_runtime_that_is_deleted_takes_its_engine_along(platform: Cluster) -> None:
    platform.api.kubectl("delete", "modeldeployment", NAME, "--timeout=60s", namespace=platform.namespace)
    platform.api.kubectl("delete", "modelruntime", RUNTIME, "--timeout=60s", namespace=platform.namespace)
    until("the engine is gone", lambda: platform.list("rayservice") == [], seconds=90)
