"""What the API server takes, what it refuses in which words, and what it fills in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from tests.integration.kube.objects import SPECS, accepted, create, made, refused, status, thing
from tests.kube_api import ROOT, KubeApi
from tidegate.domain.kinds import CLUSTER_KINDS
from tidegate.kube_codec import from_kube, to_kube

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("kind", CLUSTER_KINDS)
def test_a_valid_object_is_taken_and_its_model_reads_it(kube: KubeApi, namespace: str, kind: str) -> None:
    who = "alice" if kind == "RolloutAction" else "admin"
    stored = made(kube, namespace, thing(kind), who)
    model = from_kube(CLUSTER_KINDS[kind].model, stored)
    assert to_kube(model)["spec"] == stored["spec"], "the defaults of the definition are those of the model"


@pytest.mark.parametrize("name", ["modelruntime", "modeldeployment"])
def test_the_examples_are_taken(kube: KubeApi, namespace: str, name: str) -> None:
    made(kube, namespace, yaml.safe_load((ROOT / "examples" / "local" / f"{name}.yaml").read_text(encoding="utf-8")))


def test_empty_objects_are_filled_in_like_absent_ones(kube: KubeApi, namespace: str) -> None:
    empty = made(kube, namespace, thing("ModelRuntime", "empty", engine={}, placement={}))
    absent = made(kube, namespace, thing("ModelRuntime", "absent"))
    assert empty["spec"] == absent["spec"]
    assert empty["spec"]["placement"] == {"nodePool": "local", "gpusPerReplica": 0, "minReplicas": 1, "maxReplicas": 1}
    assert empty["spec"]["engine"]["maxAdapters"] == 4
    assert "image" not in empty["spec"]
    half = thing("ModelDeployment", "half")
    half["spec"]["rollout"] |= {"mirror": {"percent": 5}, "errorBudget": {}}
    plan = made(kube, namespace, half)["spec"]["rollout"]
    assert plan["mirror"] == {"percent": 5, "maxConcurrency": 8}
    assert plan["errorBudget"] == {"falseRollbackPercent": "1", "falsePromotionPercent": "5"}
    assert plan["steps"][1] == {
        "name": "half",
        "weight": 50,
        "minPairs": 0,
        "minDurationSeconds": 0,
        "approval": "None",
    }


def _deployment(change: Any) -> dict[str, Any]:
    body = thing("ModelDeployment")
    change(body["spec"])
    return body


def _paired(**fields: Any) -> dict[str, Any]:
    metric: dict[str, Any] = SPECS["ModelDeployment"]["rollout"]["metrics"][0]
    return metric | fields


def _concurrent(**fields: Any) -> dict[str, Any]:
    return {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent"} | fields


def _step(name: str, weight: int) -> dict[str, Any]:
    return {"name": name, "weight": weight}


def _with(where: str, value: Any) -> dict[str, Any]:
    """A deployment with a field of its spec replaced: 'rollout.mirror.percent'."""

    def change(spec: dict[str, Any]) -> None:
        *parents, last = where.split(".")
        for part in parents:
            spec = spec.setdefault(part, {})
        spec[last] = value

    return _deployment(change)


INVALID = [
    (
        _with("model.source", {"type": "Alias", "version": "7"}),
        "spec.model.source: Invalid value: source type Alias takes exactly the field alias",
    ),
    (
        _with("model.source", {"type": "Version", "version": "7", "alias": "champion"}),
        "spec.model.source: Invalid value: source type Version takes exactly the field version",
    ),
    (
        _with("rollout.steps", [_step("half", 50), _step("less", 25), _step("all", 100)]),
        "spec.rollout.steps: Invalid value: step weights [50, 25, 100] fall; a rollout only moves forward",
    ),
    (_with("rollout.steps", [_step("a", 1), _step("a", 2)]), 'spec.rollout.steps[1]: Duplicate value: {"name":"a"}'),
    (
        _with("rollout.steps", []),
        "spec.rollout.steps: Invalid value: 0: spec.rollout.steps in body should have at least 1",
    ),
    (
        _with("rollout.metrics", [_paired(), _paired()]),
        'spec.rollout.metrics[1]: Duplicate value: {"name":"exact-match"}',
    ),
    (
        _with("rollout.metrics", [{k: v for k, v in _paired().items() if k != "maxDropPoints"}]),
        "spec.rollout.metrics[0].maxDropPoints: Required value: paired metric exact-match needs maxDropPoints",
    ),
    (
        _with("rollout.metrics", [_concurrent()]),
        "spec.rollout.metrics[0]: Required value: concurrent metric error-rate needs maxIncreasePoints or maxIncreaseP",
    ),
    (
        _with("rollout.metrics", [_concurrent(mode="NonInferiority", maxIncreasePercent=5)]),
        "rollout.metrics[0].mode: Invalid value: metric error-rate: NonInferiority is for paired metrics; use NoHarm",
    ),
    (
        _with("rollout.metrics", [_paired(maxDropPoints="100")]),
        'spec.rollout.metrics[0].maxDropPoints: Invalid value: "100": must be below 100 points',
    ),
    (
        _with("rollout.errorBudget.falseRollbackPercent", "0"),
        'spec.rollout.errorBudget.falseRollbackPercent: Invalid value: "0": must be above 0 and at most 50 percent',
    ),
    (_with("rollout.errorBudget.falseRollbackPercent", "one"), "should match '^[0-9]{1,6}(\\.[0-9]{1,6})?$'"),
    (_with("rollout.errorBudget.falseRollbackPercent", 1), "must be of type string"),
    (_with("rollout.mirror.percent", 101), "should be less than or equal to 100"),
    (_with("rollout.onInconclusive", "Hope"), 'Unsupported value: "Hope": supported values: "Pause", "Rollback"'),
    (_with("runtimeRef.name", "Local"), "spec.runtimeRef.name in body should match"),
    (_with("rollout.speed", 1), 'strict decoding error: unknown field "spec.rollout.speed"'),
    (thing("ModelDeployment", "dotted.name"), "metadata.name in body should match"),
    (thing("ModelRuntime", "pool-e2"), "name pool-e2 ends like an engine of another runtime (-e<number>)"),
    (
        thing("ModelRuntime", placement={"minReplicas": 3, "maxReplicas": 2}),
        "spec.placement.minReplicas: Invalid value: minReplicas 3 is above maxReplicas 2",
    ),
    (
        thing("ModelRuntime", placement={"minReplicas": 2}),
        "spec.placement.minReplicas: Invalid value: minReplicas 2 is above maxReplicas 1",
    ),
    (thing("RolloutAction", action="Hurry"), 'supported values: "Approve", "Promote", "Abort", "Pause", "Resume"'),
]


@pytest.mark.parametrize(("body", "message"), INVALID, ids=[message[:60] for _, message in INVALID])
def test_an_invalid_object_is_refused_with_field_value_and_cause(
    kube: KubeApi, namespace: str, body: dict[str, Any], message: str
) -> None:
    said = refused(create(kube, namespace, body, "alice"))
    assert message in " ".join(said.split())
    assert "evaluat" not in said, "a rule failed instead of refusing"


def _routing(**changes: Any) -> dict[str, Any]:
    return thing("ModelRouting", **changes)


def _arms(*weights: int) -> list[dict[str, Any]]:
    arms: list[dict[str, Any]] = copy.deepcopy(SPECS["ModelRouting"]["arms"])
    for arm, weight in zip(arms, weights, strict=False):
        arm["weight"] = weight
    return arms[: len(weights)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_routing(arms=_arms(90, 11)), "the weights sum to 101, not to 100"),
        (_routing(arms=_arms(90)), "the weights sum to 90, not to 100"),
        (_routing(arms=[]), "exactly one arm must be Stable"),
        (_routing(arms=[_arms(50)[0], _arms(50)[0]]), 'Duplicate value: {"role":"Stable"}'),
        (_routing(removed=True), "a removed routing has no arms"),
        (_routing(updatedAt="yesterday"), "spec.updatedAt in body must be of type date-time"),
        (_routing(epoch=2**63), "spec.epoch"),
    ],
)
def test_a_routing_that_is_no_table_is_refused(
    kube: KubeApi, namespace: str, body: dict[str, Any], message: str
) -> None:
    assert message in refused(create(kube, namespace, body))


def test_a_status_is_not_taken_with_the_object_and_keeps_unique_conditions(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelDeployment")
    stored = made(kube, namespace, body | {"status": {"stable": "7"}})
    assert "status" not in stored
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    assert "Duplicate value" in refused(status(kube, namespace, body, {"conditions": [ready, ready]}))
    written = accepted(status(kube, namespace, body, {"conditions": [ready], "stable": "7"}))
    assert written["status"]["leaderEpoch"] == 0
    kube.kubectl("wait", "--for=condition=Ready", "mdep/intent-assistant", "--timeout=5s", namespace=namespace)
