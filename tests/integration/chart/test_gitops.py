"""The GitOps example: what Argo CD renders of it, what an API server says, and the health checks in Argo CD's Lua."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.controller.conditions import runtime_status
from serving.operator.statuses import encode, rollout_status
from serving.rollout.observation import Observation
from serving.rollout.state import Attempt, Phase, RolloutState
from serving.rollout.status import status_document
from tests.integration.chart.charts import CHART, Helm, Json, documents, merged, one
from tests.kube_api import ROOT, KubeApi
from tidegate.domain.node_pools import NodePool
from tidegate.domain.resources import ModelDeployment, RolloutPlan
from tidegate.kube_codec import from_kube
from tidegate.ports import EngineStatus

pytestmark = pytest.mark.integration
EXAMPLE = ROOT / "examples" / "gitops"
ENVIRONMENTS = ("dev", "staging", "production")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _application(environment: str) -> Json:
    content = (EXAMPLE / "argocd" / "applications" / f"{environment}.yaml").read_text(encoding="utf-8")
    return documents(content)[0]


def _arguments(environment: str) -> list[str]:
    """As Argo CD calls Helm for the Application: the value files of its second source."""
    chart = _application(environment)["spec"]["sources"][0]
    files = [EXAMPLE / path.removeprefix("$gitops/") for path in chart["helm"]["valueFiles"]]
    place = ["--namespace", _application(environment)["spec"]["destination"]["namespace"]]
    return [chart["helm"]["releaseName"], str(ROOT / chart["path"]), *place, *(f"--values={path}" for path in files)]


def _models(environment: str) -> list[Json]:
    folder = EXAMPLE / _application(environment)["spec"]["sources"][2]["path"]
    return [item for path in sorted(folder.glob("*.yaml")) for item in documents(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_renders_twice_byte_identical(helm: Helm, environment: str) -> None:
    first = helm.run("template", *_arguments(environment))
    assert first == helm.run("template", *_arguments(environment))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_models_fit_their_environment(helm: Helm, cluster: KubeApi, namespace: str, environment: str) -> None:
    objects = documents(helm.run("template", *_arguments(environment)))
    pools = yaml.safe_load(one(objects, "ConfigMap", "tidegate-node-pools", "models")["data"]["node-pools.yaml"])
    models = _models(environment)
    runtimes = {body["metadata"]["name"] for body in models if body["kind"] == "ModelRuntime"}
    for body in models:
        plural = f"{body['kind'].lower()}s"
        path = f"/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation=Strict"
        said = cluster.request("POST", path, body)
        assert said.status_code == httpx.codes.CREATED, said.text
        assert "annotations" not in body["metadata"]  # Argo CD is refused when it names somebody else
        if body["kind"] == "ModelRuntime":
            placement = body["spec"]["placement"]
            pool = from_kube(NodePool, pools[placement["nodePool"]])
            assert pool.gpus_per_node >= placement["gpusPerReplica"]
        else:
            assert body["spec"]["runtimeRef"]["name"] in runtimes
    names = {body["metadata"]["name"] for body in models if body["kind"] == "ModelDeployment"}
    checked = {
        item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][0]
        for item in objects
        if item["kind"] == "CronJob"
    }
    assert checked <= names


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_application_may_touch_what_it_brings(helm: Helm, environment: str) -> None:
    project = documents((EXAMPLE / "argocd" / "project.yaml").read_text(encoding="utf-8"))[0]["spec"]
    application = _application(environment)["spec"]
    assert {source["repoURL"] for source in application["sources"]} <= set(project["sourceRepos"])
    assert application["destination"] in project["destinations"]
    allowed = {
        item["namespace"] for item in project["destinations"] if item["name"] == application["destination"]["name"]
    }
    objects = documents(helm.run("template", *_arguments(environment)))
    assert {item["metadata"]["namespace"] for item in objects if "namespace" in item["metadata"]} <= allowed
    allowed = {item["kind"] for item in project["clusterResourceWhitelist"]}
    for item in documents(helm.run("template", *_arguments(environment))):
        assert "namespace" in item["metadata"] or item["kind"] in allowed
    assert "ServerSideApply=true" in application["syncPolicy"]["syncOptions"]


# --- health checks ----------------------------------------------------------------------------------------------------


class Lua:
    """The checks of argocd-cm, run by the Lua that Argo CD has."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._checks: dict[str, str] = yaml.safe_load((EXAMPLE / "argocd" / "argocd-cm.yaml").read_text())["data"]

    def health(self, obj: Json) -> tuple[str, str]:
        """Status and message of an object."""
        group = obj["apiVersion"].partition("/")[0]
        check = self._checks[f"resource.customizations.health.{group}_{obj['kind']}"]
        script = self._folder / "check.lua"
        script.write_text(
            f"local obj = {_literal(obj)}\nlocal function check()\n{check}\nend\n"
            "local hs = check()\nprint(hs.status)\nprint(hs.message)\n"
        )
        done = subprocess.run([self._program, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        status, _, message = done.stdout.partition("\n")
        return status, message.strip()


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Lua:
    made = subprocess.run([ROOT / "hack" / "helm" / "build.sh", "glua"], capture_output=True, text=True, check=False)
    if made.returncode == 3:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr[-4000:]
    return Lua(Path(made.stdout.strip()), tmp_path_factory.mktemp("lua"))


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(_literal(item) for item in value) + "}"
    return "nil" if value is None else json.dumps(value)


def _deployment(phase: Phase, *, stable: str | None = "7", trouble: str | None = None, behind: bool = False) -> Json:
    """A ModelDeployment with the status that the operator writes in this phase."""
    manifest = next(body for body in _models("production") if body["kind"] == "ModelDeployment")
    plan: RolloutPlan = from_kube(ModelDeployment, manifest).spec.rollout
    attempt = Attempt(id="intent-assistant-v8-4", candidate="8", plan=plan, started_at=NOW, deadline_from=NOW, step=0)
    state = RolloutState(
        deployment="intent-assistant",
        phase=phase,
        stable=stable,
        attempt=None if phase == "Pending" else attempt,
        reason="Said",
        message=f"About {phase}.",
        changed_at=NOW,
    )
    document = status_document(state, Observation(plan=plan, trouble=trouble), generation=3, now=NOW)
    status = encode("ModelDeployment", document, leader_epoch=1)
    return merged(manifest, {"metadata": {"generation": 4 if behind else 3}, "status": status})


@pytest.mark.parametrize(
    ("obj", "health", "message"),
    [
        (_deployment("Succeeded"), "Healthy", "About Succeeded."),
        (_deployment("Preflight"), "Progressing", "About Preflight."),
        (_deployment("Shadow"), "Progressing", "About Shadow."),
        (_deployment("Step"), "Progressing", "About Step."),
        (_deployment("Baking"), "Progressing", "About Baking."),
        (_deployment("RollingBack"), "Progressing", "About RollingBack."),
        (_deployment("Paused"), "Suspended", "About Paused."),
        (_deployment("RolledBack"), "Degraded", "About RolledBack."),
        (_deployment("Pending", stable=None), "Suspended", "About Pending."),
        (_deployment("Step", trouble="MLflow does not answer"), "Degraded", "MLflow does not answer"),
        (_deployment("Paused", trouble="MLflow does not answer"), "Degraded", "MLflow does not answer"),
        (_deployment("Succeeded", behind=True), "Progressing", "The operator has not looked at this generation yet."),
    ],
    ids=lambda value: value["status"]["phase"] if isinstance(value, dict) else value,
)
def test_health_of_a_deployment(lua: Lua, obj: Json, health: str, message: str) -> None:
    assert lua.health(obj) == (health, message)


def test_the_status_that_is_judged_is_one_that_the_api_server_takes(cluster: KubeApi, namespace: str) -> None:
    path = f"/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/modeldeployments"
    body = _deployment("Paused")
    status = body.pop("status")
    made = cluster.request("POST", path, body).json()
    said = cluster.request("PUT", f"{path}/intent-assistant/status?fieldValidation=Strict", {**made, "status": status})
    assert said.status_code == httpx.codes.OK, said.text


def _runtime(engine: EngineStatus | None, trouble: str | None = None) -> Json:
    status = encode("ModelRuntime", runtime_status(engine, trouble, 1, {}, NOW), leader_epoch=1)
    body = next(body for body in _models("dev") if body["kind"] == "ModelRuntime")
    return merged(body, {"metadata": {"generation": 1}, "status": status})


def _engine(*, ready: bool) -> EngineStatus:
    return EngineStatus(
        adapters=(),
        url="http://assistants",
        ready=ready,
        replicas_ready=int(ready),
        replicas_wanted=1,
        message="" if ready else "loading the model",
    )


def test_health_of_a_runtime(lua: Lua) -> None:
    assert lua.health(_runtime(_engine(ready=True))) == ("Healthy", "All replicas hold every adapter.")
    assert lua.health(_runtime(_engine(ready=False))) == ("Progressing", "loading the model")
    assert lua.health(_runtime(None, "KubeRay is not installed")) == ("Degraded", "KubeRay is not installed")
    fresh = next(body for body in _models("dev") if body["kind"] == "ModelRuntime")
    assert lua.health(fresh)[0] == "Progressing"


@pytest.mark.parametrize(
    ("phase", "health"),
    [("Step", "Progressing"), ("Paused", "Suspended"), ("Succeeded", "Healthy"), ("RolledBack", "Healthy")],
)
def test_health_of_a_rollout(lua: Lua, phase: Phase, health: str) -> None:
    state = RolloutState(deployment="a", phase=phase, stable="7", message="So it is.", changed_at=NOW)
    body = {"apiVersion": "tidegate.dev/v1alpha1", "kind": "ModelRollout", "metadata": {"generation": 1}}
    status = rollout_status(state, status_document(state, Observation(plan=_plan()), 1, now=NOW), 1)
    assert lua.health({**body, "status": status}) == (health, "So it is.")
    assert lua.health(body)[0] == "Progressing"


def _plan() -> RolloutPlan:
    manifest = next(body for body in _models("dev") if body["kind"] == "ModelDeployment")
    return from_kube(ModelDeployment, manifest).spec.rollout


def _rayservice(*conditions: tuple[str, str, str], observed: int = 2) -> Json:
    """With the conditions that KubeRay v1.6 writes (apis/ray/v1/rayservice_types.go)."""
    said = [
        {"type": kind, "status": status, "reason": reason, "message": f"{kind} is {status}"}
        for kind, status, reason in conditions
    ]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"generation": 2},
        "status": {"observedGeneration": observed, "conditions": said},
    }


RAYSERVICES: list[tuple[Json, str]] = [
    (_rayservice(("Ready", "True", "NonZeroServeEndpoints")), "Healthy"),
    (_rayservice(("Ready", "False", "Initializing")), "Progressing"),
    (_rayservice(("Ready", "False", "ZeroServeEndpoints"), ("UpgradeInProgress", "False", "a")), "Progressing"),
    (_rayservice(("Ready", "True", "NonZeroServeEndpoints"), ("UpgradeInProgress", "True", "a")), "Progressing"),
    (_rayservice(("Ready", "False", "ValidationFailed")), "Degraded"),
    (_rayservice(("Ready", "False", "InitializingTimeout")), "Degraded"),
    (_rayservice(("Ready", "True", "NonZeroServeEndpoints"), observed=1), "Progressing"),
]


@pytest.mark.parametrize(("obj", "health"), RAYSERVICES)
def test_health_of_a_rayservice(lua: Lua, obj: Json, health: str) -> None:
    assert lua.health(obj)[0] == health


def test_every_kind_of_ours_that_has_a_health_has_a_check() -> None:
    checks = yaml.safe_load((EXAMPLE / "argocd" / "argocd-cm.yaml").read_text())["data"]
    checked = {name.rpartition("_")[2] for name in checks}
    definitions = [yaml.safe_load(path.read_text()) for path in (CHART / "files" / "crds").glob("*.yaml")]
    with_phase = {
        item["spec"]["names"]["kind"]
        for item in definitions
        if {"phase", "conditions"}
        & set(
            item["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
            .get("status", {})
            .get("properties", {})
        )
    }
    assert with_phase <= checked
    assert "RayService" in checked
