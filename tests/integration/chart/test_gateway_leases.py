"""What a gateway's account may write, where RBAC alone would let it write every Lease of the namespace."""

from __future__ import annotations

import time

import httpx
import pytest

from serving.controller.loop import LEASE as LEADER
from tests.integration.chart.charts import Helm, Json, merged
from tests.integration.chart.cluster import apply
from tests.integration.chart.value_sets import BASE
from tests.kube_api import KubeApi

pytestmark = pytest.mark.integration
_KINDS = {"ServiceAccount", "Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
_MERGE = "application/merge-patch+json"


class Leases:
    """Those of one namespace, as its gateways and an administrator write them."""

    def __init__(self, cluster: KubeApi, namespace: str) -> None:
        self._cluster = cluster
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._gateway = f"system:serviceaccount:{namespace}:tidegate-gateway"

    def create(self, name: str, *, gateway: bool = True) -> httpx.Response:
        body = {"metadata": {"name": name}, "spec": {"holderIdentity": "somebody"}}
        return self._send("POST", self._path, body, gateway)

    def patch(self, name: str, *, gateway: bool = True) -> httpx.Response:
        return self._send("PATCH", f"{self._path}/{name}", {"spec": {"holderIdentity": "me"}}, gateway, _MERGE)

    def delete(self, name: str) -> httpx.Response:
        return self._send("DELETE", f"{self._path}/{name}", None, True)

    def _send(
        self, method: str, path: str, body: Json | None, gateway: bool, content_type: str = "application/json"
    ) -> httpx.Response:
        name = self._gateway if gateway else ""
        return self._cluster.request(method, path, body, content_type=content_type, impersonated=name)


def _install(helm: Helm, cluster: KubeApi, prefix: str, values: Json) -> Leases:
    namespace = cluster.make_namespace(prefix)
    for item in helm.render(values, namespace=namespace):
        if item["kind"] in _KINDS and "requester" not in item["metadata"]["name"]:
            apply(cluster, item)
    return Leases(cluster, namespace)


def test_a_gateway_writes_gateways_leases_and_not_the_leader_s(helm: Helm, cluster: KubeApi) -> None:
    leases = _install(helm, cluster, "leases", BASE)
    assert leases.create(LEADER, gateway=False).is_success
    deadline = time.monotonic() + 60
    while (said := leases.patch(LEADER)).is_success:  # a policy is in force a moment after it is there
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert said.status_code == httpx.codes.FORBIDDEN
    assert f"a gateway may write its own Lease, and {LEADER} is none" in said.text
    assert leases.delete(LEADER).status_code == httpx.codes.FORBIDDEN
    assert leases.create("another").status_code == httpx.codes.FORBIDDEN
    for write in (leases.create, leases.patch, leases.delete):
        assert write("gateway-a").is_success
    assert leases.patch(LEADER, gateway=False).is_success, "others are not meant"


def test_without_the_rule_a_gateway_may_take_the_lead(helm: Helm, cluster: KubeApi) -> None:
    """Which is why it is there."""
    leases = _install(helm, cluster, "open", merged(BASE, {"admissionPolicies": {"gatewayLeases": False}}))
    assert leases.create(LEADER, gateway=False).is_success
    assert leases.patch(LEADER).is_success
