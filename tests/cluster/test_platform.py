"""The whole platform on real pods: installed by Helm, a model served and rolled out, alerted, upgraded, removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.retraining.policy import ACTION_LABEL
from tests.alertmanager import alertmanager, configuration
from tests.cluster.helm import helm, install
from tests.cluster.installation import ONE_NODE, RELEASE, Installation, runtime
from tests.cluster.machine import build_images, start_kuberay
from tests.cluster.node import CONTAINER_SECURITY, POD_SECURITY, ROOT, Json, Node, data_folder, load
from tests.model_manifests import NAME, RUNTIME, deployment
from tests.model_versions import MODEL, messages
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.store.retraining import RetrainStore

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
_ALERTMANAGER = "alertmanager"
_STEPS = [
    {"name": "shadow", "weight": 0, "minPairs": 20},
    {"name": "small", "weight": 20, "minPairs": 8},
    {"name": "half", "weight": 50, "minPairs": 8},
]
"""Nobody has to approve."""
_KEPT = {"persistentvolumeclaim/tidegate-data"}
"""What docs/chart.md says stays in the namespace when the release is uninstalled."""


@pytest.fixture(scope="module")
def platform(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Prepared, not installed. The tests of this file build on each other, as a team's days do."""
    load(*build_images())
    start_kuberay()
    home: Path = tmp_path_factory.mktemp("platform")
    made = Installation(node, "tidegate-e2e", home, data_folder(home / "data"))
    made.remove()
    made.prepare()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def versions(platform: Installation) -> dict[str, str]:
    return platform.register_versions()


def test_an_installation_is_ready_as_soon_as_helm_says_so(platform: Installation) -> None:
    began = time.monotonic()
    done = install(platform.node, RELEASE, platform.namespace, [ONE_NODE, platform.values()], platform.home)
    assert done.returncode == 0, done.stderr + platform.node.story(platform.namespace)
    _figure("helm install until all pods are ready", time.monotonic() - began)
    running = platform.pods()
    assert {name.split("-")[1] for name in running} == {"operator", "gateway", "scorer", "receiver", "mlflow"}
    assert set(running.values()) == {0}, f"restarts: {running}"
    assert httpx.get(f"{platform.url('gateway')}/readyz", trust_env=False, timeout=60).json()["status"] == "ready"


def test_the_same_values_again_change_nothing(platform: Installation) -> None:
    before = platform.pods()
    done = install(platform.node, RELEASE, platform.namespace, [ONE_NODE, platform.values()], platform.home)
    assert done.returncode == 0, done.stderr
    assert platform.pods() == before


def test_the_first_version_answers_through_the_gateways_service(
    platform: Installation, versions: dict[str, str]
) -> None:
    began = time.monotonic()
    platform.apply(runtime(), deployment(steps=_STEPS))
    platform.nominate(versions["good"])
    status = platform.phase("Succeeded", seconds=400)
    _figure(
        "ModelRuntime applied until its first version serves (Ray cluster, model, adapter)", time.monotonic() - began
    )
    assert (status["stable"], status["reason"]) == (versions["good"], "InitialDeployment")
    driver = platform.driver()
    platform.node.until("the gateway lists the model", driver.serves, seconds=60, told=platform.story)
    driver.send(message for message, _ in zip(messages("first"), range(12), strict=False))
    assert driver.tally.failed == []
    assert {answer.version for answer in driver.tally.answers} == {versions["good"]}


def test_versions_come_and_go_without_a_failed_request_or_a_new_pod(
    platform: Installation, versions: dict[str, str]
) -> None:
    before, driver = platform.pods(), platform.driver()
    with driver.background(messages("canary"), per_second=4):
        promoted = _rolled_out(platform, versions["same"], "Succeeded")
        assert promoted["stable"] == versions["same"]
        rolled_back = _rolled_out(platform, versions["bad"], "RolledBack")
        assert rolled_back["stable"] == versions["same"]
    assert driver.tally.failed == []
    assert len(driver.tally.answers) > 50
    assert platform.pods() == before
    _figure("requests while two versions were rolled out", len(driver.tally.answers))
    ledger = _ledger(platform)
    assert ledger.verify().ok
    _figure("rollback: decision until every gateway follows", _rollback_seconds(ledger))


def test_a_firing_alertmanager_leaves_a_retraining_request(platform: Installation) -> None:
    _start_alertmanager(platform)
    url = platform.node.service_url(_ALERTMANAGER, platform.namespace)
    labels = {"alertname": "ModelDrift", "model": MODEL, "deployment": NAME, ACTION_LABEL: "retrain"}
    alert = {"labels": labels, "annotations": {"summary": "new intents"}, "startsAt": datetime.now(UTC).isoformat()}
    platform.node.until("Alertmanager takes alerts", lambda: _posted(url, alert), seconds=60)
    request = platform.node.until(
        "the request is recorded", lambda: _requests(platform), seconds=60, told=lambda: _log(platform, "receiver")
    )
    assert [(item.model, item.deployment) for item in request] == [(MODEL, NAME)]


def test_an_upgrade_under_traffic_loses_neither_requests_nor_data(platform: Installation) -> None:
    before, stable = platform.pods(), platform.status()["stable"]
    facts, requests = _ledger(platform).verify().rows, [item.key for item in _requests(platform)]
    values = platform.values()
    values["settings"]["TIDEGATE_LIMITS__MAX_CONCURRENCY"] = "48"
    driver = platform.driver()
    with driver.background(messages("upgrade"), per_second=4):
        done = install(platform.node, RELEASE, platform.namespace, [ONE_NODE, values], platform.home)
        assert done.returncode == 0, done.stderr + platform.node.story(platform.namespace)
        time.sleep(3)
    after = platform.pods()
    kept = {name for name in before if name in after}
    assert {name for name in kept if not name.startswith((RUNTIME, _ALERTMANAGER))} <= _unconcerned(before)
    assert {name for name in before if name.startswith(RUNTIME)} <= kept, "an upgrade of the chart replaced an engine"
    assert driver.tally.failed == []
    assert platform.status()["stable"] == stable
    assert _ledger(platform).verify().ok
    assert _ledger(platform).verify().rows >= facts
    assert [item.key for item in _requests(platform)] == requests


def test_an_uninstallation_leaves_what_is_documented_and_a_second_try_finds_it(platform: Installation) -> None:
    node, namespace = platform.node, platform.namespace
    facts = _ledger(platform).verify().rows
    node.kubectl("delete", f"modeldeployment/{NAME}", f"modelruntime/{RUNTIME}", namespace=namespace, seconds=180)
    node.until("the engine is gone", lambda: not node.list("rayservices", namespace), told=platform.story)
    done = helm(node, "uninstall", RELEASE, "--wait", namespace=namespace)
    assert done.returncode == 0, done.stderr
    node.until(  # Helm waits for Deployments, whose pods take a moment more
        "only what is documented is left",
        lambda: _owned(node, namespace) == _KEPT,
        seconds=60,
        told=lambda: str(sorted(_owned(node, namespace))),
    )
    kinds = node.kubectl("get", "crd", "-o", "name")
    assert "modeldeployments.tidegate.dev" in kinds
    again = install(node, RELEASE, namespace, [ONE_NODE, platform.values()], platform.home)
    assert again.returncode == 0, again.stderr + node.story(namespace)
    assert _ledger(platform).verify().rows >= facts


# --- helpers ----------------------------------------------------------------------------------------------------------


def _rolled_out(platform: Installation, version: str, phase: str) -> Json:
    began = time.monotonic()
    platform.nominate(version)
    platform.until("the rollout begins", lambda status: status.get("candidate") == version, seconds=60)
    status = platform.phase(phase, seconds=400)
    _figure(f"nominated until {phase}", time.monotonic() - began)
    return status


def _ledger(platform: Installation) -> Ledger:
    return Ledger(_database(platform), SystemClock())


def _database(platform: Installation) -> Database:
    """The pods' own SQLite: it lies on this machine, too."""
    return Database.open(f"sqlite:///{platform.data / 'tidegate.db'}")


def _requests(platform: Installation) -> list[Any]:
    return list(RetrainStore(_database(platform), SystemClock()).list())


def _rollback_seconds(ledger: Ledger) -> float:
    """From the decision of the last rollback until every gateway had the old routing in force."""
    moved = [entry.payload for entry in ledger.entries(kind="rollout.transition", subject=NAME)]
    decided = [item["time"] for item in moved if item["to_phase"] == "RollingBack"]
    done = [item["time"] for item in moved if item["to_phase"] == "RolledBack"]
    return (datetime.fromisoformat(done[-1]) - datetime.fromisoformat(decided[-1])).total_seconds()


def _start_alertmanager(platform: Installation) -> None:
    """A pod with the real program, told where the receiver is and which token it wants."""
    name = _ALERTMANAGER
    archive = platform.home / "alertmanager.tar"
    root = platform.home / "alertmanager-root"
    (root / "etc").mkdir(parents=True)
    (root / "alertmanager").write_bytes(alertmanager().read_bytes())
    (root / "alertmanager").chmod(0o755)
    image = "localhost/alertmanager:1"
    packing: list[str | Path] = [sys.executable, ROOT / "hack" / "kube" / "node" / "image.py", archive, image, root]
    subprocess.run(
        [*packing, "--user", "65532:65532", "--entrypoint", "/alertmanager"], check=True, capture_output=True
    )
    load(archive)
    text = configuration(f"http://{RELEASE}-receiver:8085", platform.receiver_token())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "args": [
                        "--config.file=/etc/alertmanager/alertmanager.yml",
                        "--storage.path=/data",
                        "--cluster.listen-address=",
                    ],
                    "securityContext": CONTAINER_SECURITY,
                    "volumeMounts": [
                        {"name": "config", "mountPath": "/etc/alertmanager", "readOnly": True},
                        {"name": "data", "mountPath": "/data"},
                    ],
                }
            ],
            "volumes": [{"name": "config", "secret": {"secretName": name}}, {"name": "data", "emptyDir": {}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 9093}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"alertmanager.yml": text},
    }
    platform.apply(secret, service, pod)


def _posted(url: str, alert: Json) -> bool:
    try:
        return httpx.post(f"{url}/api/v2/alerts", json=[alert], trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


def _log(platform: Installation, component: str) -> str:
    return platform.node.kubectl(
        "logs", f"deployment/{RELEASE}-{component}", "--tail=40", namespace=platform.namespace, check=False
    )


def _unconcerned(pods: dict[str, int]) -> set[str]:
    """Pods of components that the changed setting does not concern: MLflow reads none of ours."""
    return {name for name in pods if name.startswith(f"{RELEASE}-mlflow")}


def _owned(node: Node, namespace: str) -> set[str]:
    """Everything in the namespace that bears the release's label."""
    kinds = node.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    listable = [kind for kind in kinds if not kind.startswith("events")]
    names = node.kubectl(
        "get", ",".join(listable), "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name", namespace=namespace
    )
    return set(names.split())


def _figure(what: str, value: float) -> None:
    """Kept where `TIDEGATE_FIGURES` names a file, for docs/cluster.md."""
    if path := os.environ.get("TIDEGATE_FIGURES"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "value": round(value, 2)}) + "\n")
