"""The one-node cluster is a real one: pods run and reach each other, rights and limits hold, and nothing gets out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.network import address, bystander, reaches, started
from tests.cluster.node import BASE_IMAGE, CLUSTER, CONTAINER_SECURITY, POD_SECURITY, Json, Node

pytestmark = pytest.mark.timeout(300)
_NAMESPACE = "tidegate-node"
_OUTSIDE = "192.0.2.250"
"""TEST-NET-1: an address that nobody has."""


@pytest.fixture(scope="module")
def namespace(node: Node) -> Iterator[str]:
    node.end_namespace(_NAMESPACE)
    node.make_namespace(_NAMESPACE)
    yield _NAMESPACE
    node.end_namespace(_NAMESPACE)


def pod(name: str, *command: str, **more: Any) -> Json:
    """A restricted pod that runs a command."""
    container: Json = {
        "name": name,
        "image": BASE_IMAGE,
        "command": list(command),
        "securityContext": CONTAINER_SECURITY,
    }
    container |= more.pop("container", {})
    spec: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": POD_SECURITY,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec | more}


def ended(node: Node, namespace: str, name: str) -> tuple[str, str]:
    """Phase and log of a pod that has ended."""

    def phase() -> str | None:
        found: str = node.get("pod", name, namespace).get("status", {}).get("phase", "")
        return found if found in {"Succeeded", "Failed"} else None

    last = node.until(f"{name} ends", phase, told=lambda: node.story(namespace))
    return last, node.kubectl("logs", name, namespace=namespace)


def test_bringing_it_up_again_changes_nothing(node: Node) -> None:
    before = {item["metadata"]["uid"] for item in node.list("pods", "kube-system")}
    said = subprocess.run([CLUSTER, "up"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("already up")
    assert {item["metadata"]["uid"] for item in node.list("pods", "kube-system")} == before


def test_pods_reach_each_other_by_the_name_of_a_service(node: Node, namespace: str) -> None:
    api = "https://kubernetes.default.svc.cluster.local/version"
    asking = pod(
        "asking",
        "bash",
        "-c",
        f"getent hosts kubernetes.default && curl -sSk -m10 -o /dev/null -w '%{{http_code}}' {api}",
    )
    node.apply(asking, namespace=namespace)
    phase, log = ended(node, namespace, "asking")
    assert phase == "Succeeded", log
    assert log.strip().endswith(("200", "401", "403"))


def test_a_service_account_may_do_what_its_role_says_and_no_more(node: Node, namespace: str) -> None:
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    bearer = f'-H "Authorization: Bearer $(cat {folder}/token)"'
    call = f"curl -sS -m10 --cacert {folder}/ca.crt {bearer} -o /dev/null -w '%{{http_code}} '"
    paths = " ".join(
        f"; {call} https://kubernetes.default.svc/api/v1/namespaces/{namespace}/{kind}" for kind in ("pods", "secrets")
    )
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reader"}}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]
    node.apply(
        {**role, "kind": "Role", "rules": rules},
        {**role, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects},
        pod("rights", "bash", "-c", paths.lstrip("; ")),
        namespace=namespace,
    )
    assert ended(node, namespace, "rights")[1].split() == ["200", "403"]


def test_pods_that_are_not_restricted_are_refused(node: Node, namespace: str) -> None:
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted'):
        node.apply(pod("loose", "sleep", "1", container={"securityContext": {}}), namespace=namespace)


def test_a_pod_that_eats_more_than_its_memory_is_killed(node: Node, namespace: str) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    eat = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived"
    node.apply(pod("eats", "bash", "-c", eat, container=limits), namespace=namespace)
    assert ended(node, namespace, "eats")[0] == "Failed"
    (state,) = node.get("pod", "eats", namespace)["status"]["containerStatuses"]
    assert state["state"]["terminated"]["reason"] == "OOMKilled"


def test_network_policies_hold_in_both_directions(node: Node, namespace: str) -> None:
    web = "$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9); while ($c = $s->accept) { close $c }"
    serving = pod("serving", "perl", "-MIO::Socket::INET", "-e", web)
    started(node, namespace, serving, bystander("friend"), bystander("stranger"))
    server = address(node, namespace, app="serving")
    asking = (node, namespace)
    node.until(
        "everybody is served", lambda: all(reaches(*asking, who, server, 8080) for who in ("friend", "stranger"))
    )
    only_friends = {
        "podSelector": {"matchLabels": {"app": "serving"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 8080}]}],
    }
    node.apply(policy("only-friends", "Ingress", **only_friends), namespace=namespace)
    node.until("a stranger is refused", lambda: not reaches(*asking, "stranger", server, 8080), seconds=30)
    assert reaches(*asking, "friend", server, 8080)
    node.apply(policy("no-calls", "Egress", podSelector={"matchLabels": {"app": "friend"}}), namespace=namespace)
    node.until("a friend may not call", lambda: not reaches(*asking, "friend", server, 8080), seconds=30)


def policy(name: str, direction: str, **spec: Any) -> Json:
    spec["policyTypes"] = [direction]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


def test_nothing_leaves_the_machine(node: Node, namespace: str) -> None:
    before = rejected()
    node.apply(pod("leaves", "curl", "-sS", "-m20", f"http://{_OUTSIDE}/"), namespace=namespace)
    phase, log = ended(node, namespace, "leaves")
    assert phase == "Failed"
    assert "timed out" not in log, "packets are dropped, not rejected: clients would hang"
    assert rejected() > before


def rejected() -> int:
    """Packets from pods to the outside that the seal has refused."""
    said = subprocess.run(["nft", "list", "table", "inet", "tidegate-seal"], capture_output=True, text=True, check=True)
    return sum(int(count) for count in re.findall(r"counter packets (\d+) .* reject", said.stdout))
