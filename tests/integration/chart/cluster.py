"""Objects of the chart on the real API server."""

from __future__ import annotations

import time
from collections.abc import Iterable

import httpx

from tests.integration.chart.charts import Json
from tests.kube_api import KubeApi

CLUSTER_WIDE = {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
_RBAC = "rbac.authorization.k8s.io"
_IN_FORCE_WITHIN = 30.0
_PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "NetworkPolicy": "networkpolicies",
}


def apply(cluster: KubeApi, item: Json, options: str = "") -> httpx.Response:
    """Server-side apply of one object, in the strictest way."""
    version, kind, head = item["apiVersion"], item["kind"], item["metadata"]
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = root if kind in CLUSTER_WIDE else f"{root}/namespaces/{head['namespace']}"
    said = cluster.request(
        "PATCH",
        f"{place}/{plural}/{head['name']}?fieldManager=argocd&force=true&fieldValidation=Strict{options}",
        item,
        content_type="application/apply-patch+yaml",
    )
    assert said.is_success, f"{kind} {head['name']}: {said.text}"
    return said


def apply_rights(cluster: KubeApi, namespace: str, objects: Iterable[Json]) -> None:
    """Applies accounts, Roles and RoleBindings, and returns once they are in force.

    The API server decides by what its own watches have told it, a moment behind its answers. Each kind's watch keeps
    the order of the writes: once a pair that came last is in force, those before it are.
    """
    head = {"name": "last", "namespace": namespace}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": head}
    rules = [{"apiGroups": [_RBAC], "resources": ["last"], "verbs": ["get"]}]
    subjects = [{"apiGroup": _RBAC, "kind": "User", "name": f"last:{namespace}"}]
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": "last"}
    last = ({**role, "rules": rules}, {**role, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects})
    for item in (*objects, *last):
        apply(cluster, item)
    deadline = time.monotonic() + _IN_FORCE_WITHIN
    while not may(cluster, f"last:{namespace}", (_RBAC, "last"), "get", namespace):
        assert time.monotonic() < deadline, f"rights not in force after {_IN_FORCE_WITHIN:.0f} s"
        time.sleep(0.02)


def may(
    cluster: KubeApi, user: str, resource: tuple[str, str], verb: str, where: str, groups: Iterable[str] = ()
) -> bool:
    """Whether RBAC lets a user do this to a resource (API group, and name or name/subresource) in a namespace."""
    group, (name, _, sub) = resource[0], resource[1].partition("/")
    asked = {"namespace": where, "verb": verb, "group": group, "resource": name, "subresource": sub}
    body = {"spec": {"user": user, "groups": [*groups, "system:authenticated"], "resourceAttributes": asked}}
    said = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(said.raise_for_status().json()["status"]["allowed"])
