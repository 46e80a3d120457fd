"""The operator from end to end: promoted after an approval, rolled back on evidence, and no request failed."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from tests.e2e.operator.platform import Cluster, metrics, runtime
from tests.integration.engines.platform import until
from tests.model_manifests import NAME, RUNTIME, deployment
from tests.model_versions import messages
from tidegate.store.arrivals import scorers_seen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def test_versions_come_and_go_while_users_notice_nothing(platform: Cluster) -> None:
    platform.apply(runtime(), deployment())
    first = platform.versions.register("good")
    platform.versions.nominate(first)
    status = platform.phase("Succeeded", seconds=240)
    assert (status["stable"], status["reason"]) == (first, "InitialDeployment")
    driver = platform.driver()
    _wait_serving(platform)

    with driver.background(messages("user")):
        _good_version_is_promoted(platform)
        _bad_version_is_rolled_back(platform)
    assert len(driver.tally.answers) > 100
    assert driver.tally.failed == []
    assert driver.tally.labels_refused == 0
    assert platform.ledger.verify().ok
    said = metrics(platform)
    assert "tidegate_operator_leading 1.0" in said
    assert f'tidegate_rollout_phase{{deployment="{NAME}",phase="RolledBack"}} 1.0' in said
    assert f'tidegate_rollout_rolled_back_timestamp_seconds{{deployment="{NAME}",reason="HarmFound"}}' in said
    assert f'tidegate_deployment_serving{{deployment="{NAME}",runtime=' in said


def _good_version_is_promoted(platform: Cluster) -> None:
    second = platform.versions.register("same")
    platform.versions.nominate(second)
    waiting = platform.until("a step waits", lambda status: status.get("reason") == "ApprovalRequired")
    assert waiting["step"] == "small"
    columns = platform.api.kubectl("get", "modeldeployment", namespace=platform.namespace).stdout
    assert columns.split()[:7] == ["NAME", "STABLE", "CANDIDATE", "STEP", "WEIGHT", "PAIRS", "ETA"]
    asked = platform.ask("Approve", "alice", reason="looks good")
    status = platform.phase("Succeeded", seconds=240)
    assert status["stable"] == second
    answered = platform.get("rolloutaction", asked)["status"]
    assert answered["accepted"] is True
    assert "approved by alice (looks good)" in answered["answer"]
    assert _phases(platform, status["rollout"])[:3] == ["Preflight", "Shadow", "Step"]

    def attempt() -> dict[str, Any]:
        found: dict[str, Any] = platform.get("modelrollout", status["rollout"])["status"]
        return found

    # ModelRollouts and Events follow the deployment's own status.
    until("the attempt is told", lambda: attempt()["phase"] == "Succeeded", seconds=60)
    assert {verdict["metric"] for verdict in attempt()["verdicts"]} == {"exact-match", "error-rate"}
    assert "valid-label" in scorers_seen(platform.database)  # the scorer has the labels from the routing objects
    told = {"Nominated", "StepStarted", "Approved", "GatesPassed", "Promoted", "RoutingPublished"}
    until("the Events are there", lambda: told <= platform.reasons(), seconds=60)


def _bad_version_is_rolled_back(platform: Cluster) -> None:
    stable = platform.status["stable"]
    platform.versions.nominate(platform.versions.register("bad"))
    status = platform.phase("RolledBack", seconds=240)
    assert status["stable"] == stable
    assert _phases(platform, status["rollout"])[:2] == ["Preflight", "Shadow"]
    assert "exact-match is worse" in status["state"]["attempt"]["judgement"]["verdicts"][0]["reason"]
    decisions = platform.ledger.entries(kind="rollout.decision", subject=NAME)
    assert decisions[-1].payload["reason"] == "HarmFound"
    weights = [
        arm["weight"]
        for entry in platform.ledger.entries(kind="routing.published", subject=NAME, rollout=status["rollout"])
        for arm in entry.payload["table"]["arms"]
        if arm["role"] == "candidate"
    ]
    assert max(weights, default=0) == 0


def _phases(platform: Cluster, rollout: str) -> list[str]:
    """Those that a rollout went through, as the ledger has them."""
    found = platform.ledger.entries(kind="rollout.transition", subject=NAME, rollout=rollout)
    return [phase for phase, _ in itertools.groupby(entry.payload["to_phase"] for entry in found)]


def _wait_serving(platform: Cluster) -> None:
    driver = platform.driver()
    deadline = time.monotonic() + 60
    while not driver.serves():
        assert time.monotonic() < deadline, platform.processes.log("gateway")[-2000:]
        time.sleep(0.2)
    assert platform.get("modelruntime", RUNTIME)["status"]["replicasReady"] == 1
