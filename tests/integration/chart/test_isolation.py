"""Who may reach whom, and who holds which credentials."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.chart.charts import Helm, Json, merged, one, pods
from tests.integration.chart.value_sets import BASE, VALUE_SETS

pytestmark = pytest.mark.integration
STORAGE, MLFLOW = "tidegate-object-storage", "mlflow-client"


def test_a_component_holds_the_credentials_of_what_it_asks_and_no_others(helm: Helm) -> None:
    values = merged(VALUE_SETS["drift checks"], {"mlflow": {"existingSecret": MLFLOW}})
    held = {
        template["spec"]["containers"][0]["name"]: _credentials(template) for _, template in pods(helm.render(values))
    }
    assert held == {
        "operator": {STORAGE, MLFLOW},
        "gateway": {STORAGE},
        "drift-check": {STORAGE, MLFLOW},
        "mlflow": {STORAGE},
        "scorer": set(),
        "receiver": set(),
    }


@pytest.mark.parametrize("name", ["base", "pipelines elsewhere"])
def test_training_pods_are_reached_by_their_job_and_by_kuberay_alone(helm: Helm, name: str) -> None:
    objects = helm.render(VALUE_SETS[name])
    found = [item for item in objects if item["metadata"]["name"] == "tidegate-training" and _is_policy(item)]
    wanted = {"base": {"models"}, "pipelines elsewhere": {"team-a", "team-b"}}[name]
    assert {item["metadata"]["namespace"] for item in found} == wanted
    for item in found:
        spec = item["spec"]
        pod = {"matchExpressions": [{"key": "tidegate.dev/job", "operator": "Exists"}]}
        assert (spec["podSelector"], spec["policyTypes"]) == (pod, ["Ingress"])
        own, kuberay = spec["ingress"]
        assert own == {"from": [{"podSelector": pod}]}
        assert [port["port"] for port in kuberay["ports"]] == [8265, 52365]
        assert kuberay["from"] == one(objects, "NetworkPolicy", "tidegate-engines")["spec"]["ingress"][-1]["from"]


def test_kuberay_is_let_in_by_the_labels_of_either_of_its_installations(helm: Helm) -> None:
    """Of its chart and of its kustomization, which the node's tests have: refused, no engine ever becomes ready."""
    spec = one(helm.render(BASE), "NetworkPolicy", "tidegate-engines")["spec"]
    selectors = [peer["podSelector"]["matchLabels"] for peer in spec["ingress"][-1]["from"]]
    by_chart = {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/instance": "kuberay-operator"}
    by_kustomization = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"}
    for labels in (by_chart, by_kustomization):
        assert any(selector.items() <= labels.items() for selector in selectors)


def test_a_pod_that_calls_itself_kuberay_is_not_let_in(helm: Helm) -> None:
    """Ray's dashboard runs what it is sent, and any pod can give itself a label: the namespace counts, too."""
    spec = one(helm.render(BASE), "NetworkPolicy", "tidegate-engines")["spec"]
    wanted = {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-system"}}
    assert [peer["namespaceSelector"] for peer in spec["ingress"][-1]["from"]] == [wanted, wanted]


def test_training_pods_are_left_to_a_policy_of_ones_own(helm: Helm) -> None:
    objects = helm.render(merged(BASE, {"networkPolicy": {"training": {"enabled": False}}}))
    assert not [item for item in objects if _is_policy(item) and item["metadata"]["name"].endswith("-training")]


def test_name_servers_are_reached_at_the_ports_of_their_pods(helm: Helm) -> None:
    """Behind the Service's port 53 OpenShift's listen on 5353, and a policy is about pods."""
    strict = VALUE_SETS["strict network"]
    for name, ports in (("tidegate-default-deny", {53, 5353}), ("tidegate-engines", {53, 5353})):
        egress = one(helm.render(strict), "NetworkPolicy", name)["spec"]["egress"]
        rule = next(item for item in egress if any(port["protocol"] == "UDP" for port in item.get("ports", ())))
        assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
            (protocol, port) for protocol in ("UDP", "TCP") for port in ports
        }
        assert rule["to"] == strict["networkPolicy"]["dns"]


def test_an_mlflow_elsewhere_may_send_its_webhook_where_it_is_named(helm: Helm) -> None:
    elsewhere: Json = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlflow"}}}
    values = merged(VALUE_SETS["existing MLflow"], {"networkPolicy": {"metricsFrom": [], "webhookFrom": [elsewhere]}})
    (rule,) = one(helm.render(values), "NetworkPolicy", "tidegate-operator")["spec"]["ingress"]
    assert elsewhere in rule["from"]


def test_ports_that_addresses_name_are_reached(helm: Helm) -> None:
    """As Redis' is: cut off, nothing of the release would work, and the policies would be the last place to look."""
    values: Json = {
        "objectStorage": {"env": {"AWS_ENDPOINT_URL": "http://minio.storage.svc:9100"}},
        "mlflow": {"url": "https://mlflow.example.com:8443/registry", "server": {"artifactRoot": ""}},
        "kfp": {"url": "http://ml-pipeline.kubeflow.svc/pipeline"},
        "networkPolicy": {"externalPorts": [443, 8443]},
    }
    objects = helm.render(merged(BASE, values))
    for component in ("operator", "gateway", "receiver"):
        rule = one(objects, "NetworkPolicy", f"tidegate-{component}")["spec"]["egress"][-1]
        assert [port["port"] for port in rule["ports"]] == [443, 8443, 9100]


def _credentials(template: Json) -> set[str]:
    (container,) = template["spec"]["containers"]
    sources: list[Any] = container.get("envFrom", [])
    return {source["secretRef"]["name"] for source in sources if "secretRef" in source}


def _is_policy(item: Json) -> bool:
    return bool(item["kind"] == "NetworkPolicy")
