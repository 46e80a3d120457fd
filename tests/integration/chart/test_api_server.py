"""What a real API server says of the rendered objects: S1, H4 and H5 of the acceptance targets, and their rights."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httpx
import pytest

from tests.integration.chart.charts import Helm, Json, merged, one, pods
from tests.integration.chart.cluster import CLUSTER_WIDE, apply
from tests.integration.chart.value_sets import BASE, NOTHING_CLUSTER_WIDE, VALUE_SETS
from tests.kube_api import ROOT, KubeApi
from tests.kube_rights import may, wait_for_rights

pytestmark = pytest.mark.integration
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


@pytest.fixture(scope="module")
def restricted(cluster: KubeApi) -> str:
    """A namespace that enforces Pod Security "restricted"."""
    namespace = cluster.make_namespace("restricted")
    change = {"metadata": {"labels": RESTRICTED}}
    path = f"/api/v1/namespaces/{namespace}"
    cluster.request("PATCH", path, change, content_type="application/merge-patch+json").raise_for_status()
    return namespace


def test_the_namespace_refuses_what_is_not_restricted(cluster: KubeApi, restricted: str) -> None:
    body = {"metadata": {"generateName": "a-"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    said = cluster.request("POST", f"/api/v1/namespaces/{restricted}/pods?dryRun=All", body)
    assert said.status_code == httpx.codes.FORBIDDEN
    assert "violates PodSecurity" in said.text


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_pod_passes_pod_security_restricted(helm: Helm, cluster: KubeApi, restricted: str, name: str) -> None:
    objects = helm.render(VALUE_SETS[name], namespace=restricted)
    templates = list(pods(objects))
    assert len(templates) >= 4
    for workload, template in templates:
        labels = template["metadata"]["labels"]
        body = {"metadata": {"generateName": "pod-", "labels": labels}, "spec": template["spec"]}
        body["metadata"]["annotations"] = template["metadata"].get("annotations", {})
        said = cluster.request("POST", f"/api/v1/namespaces/{restricted}/pods?dryRun=All&fieldValidation=Strict", body)
        assert said.status_code == httpx.codes.CREATED, f"{workload}: {said.text}"


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_api_server_takes_every_object(helm: Helm, cluster: KubeApi, name: str) -> None:
    namespace = cluster.make_namespace("dry")
    objects = helm.render(VALUE_SETS[name], namespace=namespace)
    seen = {_identity(item) for item in objects}
    assert len(seen) == len(objects)  # nothing twice
    for item in objects:
        if item["kind"] == "CustomResourceDefinition" and name != "base":
            continue  # the same files every time, and large
        if item["metadata"].get("namespace", namespace) != namespace:
            continue  # a namespace that is not here
        apply(cluster, item, "&dryRun=All").raise_for_status()


@pytest.mark.parametrize("name", ["local with drift checks", "all at once"])
def test_applying_again_changes_nothing(helm: Helm, cluster: KubeApi, name: str) -> None:
    """As Argo CD does it, server-side: no default of the API server and no order of a list makes a difference."""
    namespace = cluster.make_namespace("again")
    values = merged(VALUE_SETS[name], NOTHING_CLUSTER_WIDE)
    objects = helm.render(values, namespace=namespace)
    first, second, third = ([apply(cluster, item).json() for item in objects] for _ in range(3))
    for before, after, later in zip(first, second, third, strict=True):
        assert _content(after) == _content(before)
        # The API server itself stores a new claim once more, unchanged: so the third time counts.
        assert later["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"], before["kind"]
    # What Argo CD compares: a dry run of the manifest against what is there.
    for item, before in zip(objects, first, strict=True):
        assert _content(apply(cluster, item, "&dryRun=All").json()) == _content(before)


READ, WATCH = ("get", "list"), ("get", "list", "watch")
OURS = "tidegate.dev"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
ALL = VERBS[:-1]
OWN = ("get", "list", "watch", "create", "update", "delete")
RIGHTS: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {
    "tidegate-operator": {
        (OURS, "modelruntimes"): (*WATCH, "update"),
        (OURS, "modeldeployments"): (*WATCH, "update"),
        (OURS, "modelruntimes/status"): ("update",),
        (OURS, "modeldeployments/status"): ("update",),
        (OURS, "modelrollouts"): OWN,
        (OURS, "modelrollouts/status"): ("update",),
        (OURS, "modelroutings"): (*WATCH, "create", "update"),
        (OURS, "rolloutactions"): (*WATCH, "delete"),
        (OURS, "rolloutactions/status"): ("update",),
        ("ray.io", "rayservices"): OWN,
        ("apps", "controllerrevisions"): OWN,
        ("", "services"): OWN,
        ("policy", "poddisruptionbudgets"): ("get", "create", "update", "delete"),
        ("coordination.k8s.io", "leases"): (*READ, "create", "update", "delete"),
        ("events.k8s.io", "events"): ("create",),
    },
    "tidegate-gateway": {
        (OURS, "modelroutings"): WATCH,
        ("coordination.k8s.io", "leases"): ("create", "patch", "delete"),
    },
    "tidegate-scorer": {(OURS, "modelroutings"): ("get",)},
    "tidegate-drift": {(OURS, "modelroutings"): ("get",)},
    "tidegate-receiver": {},
    "tidegate-mlflow": {},
    "tidegate-engine": {},
    "tidegate-training": {},
    "pipeline-runner": {
        ("ray.io", "rayjobs"): ("get", "list", "watch", "create", "delete"),
        ("", "pods"): READ,
        ("", "pods/log"): READ,
        ("kueue.x-k8s.io", "workloads"): ("list",),
        (OURS, "modelroutings"): ("get",),
    },
}
NEVER = [("", "secrets"), ("", "configmaps"), ("", "pods/exec"), ("", "serviceaccounts/token"), ("apps", "deployments")]
NEVER += [("rbac.authorization.k8s.io", "roles"), ("batch", "jobs"), (OURS, "modeldeployments/finalizers")]


@pytest.fixture(scope="module")
def installed(helm: Helm, cluster: KubeApi) -> str:
    """A namespace with the accounts and roles of a release."""
    namespace = cluster.make_namespace("rights")
    _apply_rights(cluster, namespace, helm.render(VALUE_SETS["drift checks"], namespace=namespace))
    return namespace


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_may_do_what_the_table_says_and_nothing_else(cluster: KubeApi, installed: str, account: str) -> None:
    asked = {resource for rights in RIGHTS.values() for resource in rights} | set(NEVER)
    expected, wrong = RIGHTS[account], []
    for resource in sorted(asked):
        for verb in VERBS:
            allowed = _may(cluster, installed, account, resource, verb, installed)
            if allowed != (verb in expected.get(resource, ())):
                wrong.append((*resource, verb, allowed))
    assert not wrong
    # Nothing outside of its namespace.
    for resource, verbs in expected.items():
        assert not _may(cluster, installed, account, resource, verbs[0], "default"), resource


def test_the_table_of_rights_is_the_documented_one() -> None:
    text = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
    rows = re.search(r"\| \| operator \| gateway \| scorer \|\n.*?\n\n", text, re.DOTALL)
    assert rows
    for account in ("operator", "gateway", "scorer"):
        for group, resource in RIGHTS[f"tidegate-{account}"]:
            assert resource.partition("/")[0] in rows.group(), resource
            assert group in rows.group()


def test_the_receiver_may_start_runs_in_one_profile_where_kubeflow_knows_it_by_its_account(
    helm: Helm, cluster: KubeApi
) -> None:
    release, profile, other = (cluster.make_namespace("rights") for _ in range(3))
    values = merged(VALUE_SETS["Kubeflow with its own account"], {"pipelines": {"namespaces": [profile, other]}})
    rendered = helm.render(values, namespace=release)
    receivers = [item for item in rendered if item["metadata"]["name"] == "tidegate-receiver"]
    _apply_rights(cluster, release, receivers)
    wanted = {"pipelines": READ, "experiments": (*READ, "create"), "runs": (*READ, "create"), "jobs": ()}
    for kind, verbs in wanted.items():
        resource = ("pipelines.kubeflow.org", kind)
        allowed = {verb for verb in VERBS if _may(cluster, release, "tidegate-receiver", resource, verb, profile)}
        assert allowed == set(verbs), kind
        assert not _may(cluster, release, "tidegate-receiver", resource, "list", other)
    by_token = helm.render(VALUE_SETS["Kubeflow with a token"])
    assert not [item for item in by_token if (item["kind"], item["metadata"]["name"]) == ("Role", "tidegate-receiver")]


def test_finalizers_are_a_value(helm: Helm, cluster: KubeApi) -> None:
    namespace = cluster.make_namespace("rights")
    _apply_rights(cluster, namespace, helm.render(VALUE_SETS["settings"], namespace=namespace))
    assert _may(cluster, namespace, "tidegate-operator", (OURS, "modeldeployments/finalizers"), "update", namespace)


def test_a_second_release_leaves_the_cluster_wide_objects_alone(helm: Helm) -> None:
    found = [
        item for item in helm.render(VALUE_SETS["a second release"], namespace="b") if item["kind"] in CLUSTER_WIDE
    ]
    assert {item["metadata"]["name"] for item in found} == {"b-other-gateway-leases"}, "its own rule"
    nothing = merged(VALUE_SETS["a second release"], NOTHING_CLUSTER_WIDE)
    assert not [item for item in helm.render(nothing) if item["kind"] in CLUSTER_WIDE]
    kept = [item for item in helm.render(BASE) if item["kind"] == "CustomResourceDefinition"]
    assert len(kept) == 5
    for item in kept:
        assert item["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    one(helm.render(BASE), "ValidatingAdmissionPolicy", "tidegate-modeldeployment-requester")


def _content(item: Json) -> Json:
    """Without what the API server keeps for itself."""
    own = ("managedFields", "resourceVersion")
    return item | {"metadata": {key: value for key, value in item["metadata"].items() if key not in own}}


def _identity(item: Json) -> tuple[str, str, str, str]:
    head = item["metadata"]
    return item["apiVersion"], item["kind"], head.get("namespace", ""), head["name"]


def _apply_rights(cluster: KubeApi, namespace: str, objects: Iterable[Json]) -> None:
    for item in objects:
        if item["kind"] in {"ServiceAccount", "Role", "RoleBinding"}:
            apply(cluster, item).raise_for_status()
    wait_for_rights(cluster, namespace)


def _may(cluster: KubeApi, namespace: str, account: str, resource: tuple[str, str], verb: str, where: str) -> bool:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return may(cluster, f"system:serviceaccount:{namespace}:{account}", resource, verb, where, groups)
