"""What may change and what may not: only an API server sees the object before and after."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.integration.kube.objects import SPECS, accepted, made, merge, path, refused, status, thing
from tests.kube_api import KubeApi

pytestmark = pytest.mark.integration

_STATUS: dict[str, dict[str, Any]] = {
    "ModelRuntime": {"message": "Loading."},
    "ModelDeployment": {"phase": "Pending"},
    "ModelRollout": {"phase": "Preflight"},
    "RolloutAction": {"accepted": True},
}


def _author(kind: str) -> str:
    return "alice" if kind == "RolloutAction" else "admin"


@pytest.mark.parametrize("kind", _STATUS)
def test_the_status_of_an_operator_that_lost_its_lease_is_refused(kube: KubeApi, namespace: str, kind: str) -> None:
    body = thing(kind)
    made(kube, namespace, body, _author(kind))
    accepted(status(kube, namespace, body, {"leaderEpoch": 7, **_STATUS[kind]}))
    accepted(status(kube, namespace, body, {"leaderEpoch": 7}))
    said = refused(status(kube, namespace, body, {"leaderEpoch": 6}))
    assert "status.leaderEpoch: Forbidden: written under lease epoch 6, but epoch 7 has led since" in said
    assert "but epoch 7 has led since" in refused(status(kube, namespace, body, {"leaderEpoch": None}))
    whole = kube.request("GET", path(kind, namespace, "intent-assistant")).json()
    del whole["status"]
    answer = kube.request("PUT", path(kind, namespace, "intent-assistant", "status"), whole, user="operator")
    assert "status cannot be removed" in refused(answer)
    accepted(status(kube, namespace, body, {"leaderEpoch": 8}))


def test_a_rollouts_plan_is_frozen(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelRollout", "intent-assistant-v8-4")
    made(kube, namespace, body)
    for change in ({"candidate": "9"}, {"plan": {"bakeSeconds": 1}}, {"stable": None}):
        said = refused(merge(kube, namespace, body, {"spec": change}))
        assert "spec: Forbidden: the spec is frozen: change the ModelDeployment" in said
    accepted(merge(kube, namespace, body, {"metadata": {"labels": {"seen": "yes"}}}))


def test_an_action_is_asked_once_and_answered_once(kube: KubeApi, namespace: str) -> None:
    body = thing("RolloutAction", reason="the dashboard looks right")
    made(kube, namespace, body, "alice")
    for change in ({"requestedBy": "bob"}, {"action": "Promote"}, {"reason": "other"}, {"rollout": "r"}):
        assert "an action cannot be changed: create another one" in refused(
            merge(kube, namespace, body, {"spec": change})
        )
    answer = {"accepted": False, "answer": "approve asked by alice was refused: no step waits.", "leaderEpoch": 3}
    accepted(status(kube, namespace, body, answer))
    accepted(status(kube, namespace, body, answer | {"leaderEpoch": 4}))
    others: list[dict[str, Any]] = [
        {"answer": "Step half approved."},
        {"accepted": True},
        {"answer": None},
        {"accepted": None},
    ]
    for other in others:
        said = refused(status(kube, namespace, body, other))
        assert "status.answer: Forbidden: this action was answered already: approve asked by alice was refused" in said


def test_routing_changes_with_a_higher_epoch_only(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelRouting")
    made(kube, namespace, body)
    accepted(merge(kube, namespace, body, {"spec": body["spec"]}))  # the same again is no change
    arms = copy.deepcopy(SPECS["ModelRouting"]["arms"])
    arms[0]["weight"], arms[1]["weight"] = 50, 50
    for epoch in (5, 4):
        said = refused(merge(kube, namespace, body, {"spec": {"arms": arms, "epoch": epoch}}))
        assert f"spec.epoch: Forbidden: epoch {epoch} comes too late: epoch 5 is in force" in said
    accepted(merge(kube, namespace, body, {"spec": {"arms": arms, "epoch": 6}}))
    said = refused(merge(kube, namespace, body, {"spec": {"epoch": 7, "leaderEpoch": 1}}))
    assert "written under lease epoch 1, but epoch 2 has led since" in said


def test_a_removed_routing_keeps_its_epoch(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelRouting")
    made(kube, namespace, body)
    accepted(merge(kube, namespace, body, {"spec": {"removed": True, "arms": [], "epoch": 6}}))
    again: dict[str, Any] = {"removed": False, "arms": SPECS["ModelRouting"]["arms"]}
    assert "epoch 6 is in force" in refused(merge(kube, namespace, body, {"spec": again | {"epoch": 6}}))
    accepted(merge(kube, namespace, body, {"spec": again | {"epoch": 7}}))


def test_runtime_and_model_stay_while_a_version_serves(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelDeployment")
    made(kube, namespace, body)
    accepted(merge(kube, namespace, body, {"spec": {"model": {"name": "banking"}, "runtimeRef": {"name": "gpu"}}}))
    accepted(status(kube, namespace, body, {"stable": "7"}))
    said = refused(merge(kube, namespace, body, {"spec": {"runtimeRef": {"name": "other"}}}))
    assert (
        "spec.runtimeRef.name: Forbidden: the runtime cannot change from gpu to other while version 7 serves: "
        "create another ModelDeployment, move applications to it, delete this" in said
    )
    said = refused(merge(kube, namespace, body, {"spec": {"model": {"name": "other"}}}))
    assert (
        "spec.model.name: Forbidden: the registered model cannot change from banking to other while version 7" in said
    )
    accepted(merge(kube, namespace, body, {"spec": {"model": {"source": {"alias": "champion"}}}}))
    accepted(merge(kube, namespace, body, {"spec": {"rollout": {"bakeSeconds": 60}}}))
