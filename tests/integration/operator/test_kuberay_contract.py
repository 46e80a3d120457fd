"""What the operator relies on of KubeRay. The stand-in keeps it here; the real operator keeps it on a node with pods.

`TIDEGATE_KUBERAY` set to a namespace of a cluster with the real operator (and `KUBECONFIG` to it) lets the same tests
run against that one; its RayService then has to be reachable at `TIDEGATE_KUBERAY_URL`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from serving.operator.engines import _applied
from serving.operator.rayservice import rayservice
from tests.integration.engines.platform import ray_head, until
from tests.integration.operator.test_rayservice import CPU, SITE
from tests.kube_api import KubeApi
from tests.kuberay import KubeRayStandIn
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.kinds import RAY_SERVICE

pytestmark = pytest.mark.integration
NAME = "contract"


@dataclass
class KubeRay:
    client: Client
    url: str

    def body(self) -> dict[str, Any]:
        found = self.client.get(RAY_SERVICE, NAME)
        assert found is not None
        return found

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/echo", trust_env=False, timeout=5).raise_for_status().json()
        return found

    def answers(self, word: str) -> bool:
        try:
            return bool(self.answer()["config"]["word"] == word)
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def kuberay_at_work(kuberay: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeRay]:
    real = os.environ.get("TIDEGATE_KUBERAY")
    if real:
        yield KubeRay(Client.connect(real), os.environ["TIDEGATE_KUBERAY_URL"])
        return
    namespace = kuberay.make_namespace()
    with ray_head(tmp_path_factory.mktemp("ray")) as ray, KubeRayStandIn(kuberay, namespace, ray):
        client = Client.from_kubeconfig(kuberay.kubeconfig("admin", namespace), namespace)
        yield KubeRay(client, ray.engine_url)


def service(word: str) -> dict[str, Any]:
    made = rayservice(NAME, CPU, [], SITE)
    application = {
        "name": NAME,
        "route_prefix": "/echo",
        "import_path": "tests.kuberay_app:build",
        "args": {},
        "deployments": [{"name": "echo", "num_replicas": 1, "user_config": {"word": word}}],
    }
    made["spec"]["serveConfigV2"] = yaml.safe_dump({"applications": [application]})
    return made


def test_a_rayservice_is_brought_about_and_its_status_says_so(kuberay_at_work: KubeRay) -> None:
    kuberay_at_work.client.create(RAY_SERVICE, service("one"))
    until("the application answers", lambda: kuberay_at_work.answers("one"), seconds=180)

    def ready() -> bool:
        conditions = (kuberay_at_work.body().get("status") or {}).get("conditions", ())
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    until("the condition Ready", ready, seconds=60)
    body = kuberay_at_work.body()
    assert _applied(body)
    active = body["status"]["activeServiceStatus"]
    assert active["rayClusterName"].startswith(f"{NAME}-")
    assert active["applicationStatuses"][NAME]["status"] == "RUNNING"
    assert set(active["applicationStatuses"][NAME]["serveDeploymentStatuses"]) == {"echo"}


def test_a_changed_user_config_reaches_the_same_replica(kuberay_at_work: KubeRay) -> None:
    before, body = kuberay_at_work.answer(), kuberay_at_work.body()
    kuberay_at_work.client.replace(
        RAY_SERVICE, {**body, "spec": {**body["spec"], "serveConfigV2": service("two")["spec"]["serveConfigV2"]}}
    )
    until("the new configuration answers", lambda: kuberay_at_work.answers("two"), seconds=60)
    after = kuberay_at_work.answer()
    assert after["pid"] == before["pid"]
    assert after["configured"] == before["configured"] + 1
    until("its generation is observed", lambda: _applied(kuberay_at_work.body()), seconds=30)
    cluster = body["status"]["activeServiceStatus"]["rayClusterName"]
    assert kuberay_at_work.body()["status"]["activeServiceStatus"]["rayClusterName"] == cluster
