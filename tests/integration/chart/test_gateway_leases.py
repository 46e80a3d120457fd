"""What a gateway's account may write, where RBAC alone would let it write every Lease of the namespace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from serving.controller.loop import LEASE as LEADER
from serving.gateway.assembly import gateway_id
from serving.gateway.kube_routing import lease_name
from tests.integration.chart.charts import Helm, Json, merged
from tests.integration.chart.cluster import apply
from tests.integration.chart.value_sets import BASE
from tests.kube_api import KubeApi
from tests.kube_rights import wait_for_rights

pytestmark = pytest.mark.integration
_KINDS = {"ServiceAccount", "Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
_MERGE = "application/merge-patch+json"
_ACCOUNT = "tidegate-gateway"
_ONE, _OTHER = "tidegate-gateway-6d5f9c7b8d-x2k4q", "tidegate-gateway-6d5f9c7b8d-9vwzn"


class Leases:
    """Those of one namespace, as its gateways and an administrator write them."""

    def __init__(self, cluster: KubeApi, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = f"/api/v1/namespaces/{namespace}"
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._clients: dict[str, httpx.Client] = {}

    def create(self, name: str, pod: str = "") -> httpx.Response:
        body = {"metadata": {"name": name}, "spec": {"holderIdentity": "somebody"}}
        return self._client(pod).post(self._path, json=body)

    def patch(self, name: str, pod: str = "") -> httpx.Response:
        content = json.dumps({"spec": {"holderIdentity": "me"}})
        return self._client(pod).patch(f"{self._path}/{name}", content=content, headers={"content-type": _MERGE})

    def delete(self, name: str, pod: str = "") -> httpx.Response:
        return self._client(pod).delete(f"{self._path}/{name}")

    def bind(self, pod: str) -> None:
        """Makes a gateway's pod, and from now on speaks for it with the token that the kubelet would give it."""
        spec = {"serviceAccountName": _ACCOUNT, "containers": [{"name": "gateway", "image": "gateway"}]}
        body = {"metadata": {"name": pod}, "spec": spec}
        self._cluster.request("POST", f"{self._namespace}/pods", body).raise_for_status()
        self._clients[pod] = self._with_token({"kind": "Pod", "apiVersion": "v1", "name": pod})

    def _client(self, pod: str) -> httpx.Client:
        """An administrator's without a pod; that of the account, bound to no pod, for `account`."""
        if pod not in self._clients:
            self._clients[pod] = self._with_token(None) if pod == "account" else self._cluster.client()
        return self._clients[pod]

    def _with_token(self, bound: Json | None) -> httpx.Client:
        asked = {"spec": {"boundObjectRef": bound} if bound else {}}
        made = self._cluster.request("POST", f"{self._namespace}/serviceaccounts/{_ACCOUNT}/token", asked)
        made.raise_for_status()
        client = self._cluster.client()
        client.headers["authorization"] = f"Bearer {made.json()['status']['token']}"
        return client

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@contextmanager
def _installed(helm: Helm, cluster: KubeApi, prefix: str, values: Json) -> Iterator[Leases]:
    namespace = cluster.make_namespace(prefix)
    for item in helm.render(values, namespace=namespace):
        if item["kind"] in _KINDS and "requester" not in item["metadata"]["name"]:
            apply(cluster, item)
    wait_for_rights(cluster, namespace)
    leases = Leases(cluster, namespace)
    for pod in (_ONE, _OTHER):
        leases.bind(pod)
    yield leases
    leases.close()


def _lease(pod: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name that the gateway in this pod takes."""
    monkeypatch.setenv("POD_NAME", pod)
    return lease_name(gateway_id())


def test_a_gateway_writes_its_own_leases_and_not_the_leader_s(
    helm: Helm, cluster: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _installed(helm, cluster, "leases", BASE) as leases:
        assert leases.create(LEADER).is_success
        deadline = time.monotonic() + 60
        while (said := leases.patch(LEADER, _ONE)).is_success:  # a policy is in force a moment after it is there
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert said.status_code == httpx.codes.FORBIDDEN
        assert f"a gateway may write the Leases of its own pod, and {LEADER} is none" in said.text
        assert leases.delete(LEADER, _ONE).status_code == httpx.codes.FORBIDDEN
        assert leases.create("another", _ONE).status_code == httpx.codes.FORBIDDEN
        own = _lease(_ONE, monkeypatch)
        assert leases.create(own, _ONE).is_success
        assert leases.patch(own, _ONE).is_success
        for speaker in (_OTHER, "account"):  # another gateway, and the account's token without a pod
            for write in (leases.patch, leases.delete):
                assert write(own, speaker).status_code == httpx.codes.FORBIDDEN
        assert leases.create(_lease(_OTHER, monkeypatch), _ONE).status_code == httpx.codes.FORBIDDEN
        assert leases.delete(own, _ONE).is_success
        assert leases.patch(LEADER).is_success, "others are not meant"


def test_without_the_rule_a_gateway_may_take_the_lead(helm: Helm, cluster: KubeApi) -> None:
    """Which is why it is there."""
    without = merged(BASE, {"admissionPolicies": {"gatewayLeases": False}})
    with _installed(helm, cluster, "open", without) as leases:
        assert leases.create(LEADER).is_success
        assert leases.patch(LEADER, _ONE).is_success
