"""What RBAC lets whom do on a real API server, and when what was written about it is in force."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tests.kube_api import KubeApi

_RBAC = "rbac.authorization.k8s.io"
_WITHIN = 60.0


def wait_for_rights(api: KubeApi, namespace: str) -> None:
    """Returns once every Role and RoleBinding that was written before is in force.

    The API server decides by what its own watches have told it, a moment behind its answers. Each kind's watch keeps
    the order of the writes: once a pair that came last is in force, those before it are.
    """
    head = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": "last", "namespace": namespace}}
    role = {**head, "kind": "Role", "rules": [{"apiGroups": [_RBAC], "resources": ["last"], "verbs": ["get"]}]}
    subjects = [{"apiGroup": _RBAC, "kind": "User", "name": "last"}]
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": "last"}
    binding = {**head, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects}
    for plural, body in (("roles", role), ("rolebindings", binding)):
        api.request("POST", f"/apis/{_RBAC}/v1/namespaces/{namespace}/{plural}", body).raise_for_status()
    deadline = time.monotonic() + _WITHIN
    while not may(api, "last", (_RBAC, "last"), "get", namespace):
        assert time.monotonic() < deadline, f"rights not in force after {_WITHIN:.0f} s"
        time.sleep(0.02)


def may(api: KubeApi, user: str, resource: tuple[str, str], verb: str, where: str, groups: Iterable[str] = ()) -> bool:
    """Whether a user may do this to a resource (API group, and name or name/subresource) in a namespace."""
    review = access_review(user, resource, verb, where, groups)
    said = api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(said.raise_for_status().json()["status"]["allowed"])


def access_review(
    user: str, resource: tuple[str, str], verb: str, where: str, groups: Iterable[str] = ()
) -> dict[str, Any]:
    """The SubjectAccessReview that asks so."""
    group, (name, _, sub) = resource[0], resource[1].partition("/")
    asked = {"namespace": where, "verb": verb, "group": group, "resource": name, "subresource": sub}
    spec = {"user": user, "groups": [*groups, "system:authenticated"], "resourceAttributes": asked}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
