"""What the chart renders and never does: H2, H3, H5 and S2 of the acceptance targets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.chart.charts import CHART, Helm, Json, documents, merged, one, pods
from tests.integration.chart.value_sets import BASE, LOCAL, VALUE_SETS
from tests.kube_api import ROOT

pytestmark = pytest.mark.integration
TEMPLATES = [
    *sorted(path for path in (CHART / "templates").rglob("*") if path.is_file()),
    CHART / "files" / "alerts.yaml",
]


@pytest.mark.parametrize("name", VALUE_SETS)
def test_it_renders_twice_byte_identical(helm: Helm, name: str) -> None:
    first = helm.text(VALUE_SETS[name])
    assert first == helm.text(VALUE_SETS[name])
    assert len(VALUE_SETS) >= 20


def test_lint_finds_nothing(helm: Helm) -> None:
    for values in (BASE, LOCAL, VALUE_SETS["all at once"]):
        assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), values=values)


def test_a_feature_store_of_ones_own_as_the_documentation_has_it(helm: Helm) -> None:
    blocks = re.findall(
        r"^```yaml\n(features:\n.*?)^```", (ROOT / "docs" / "chart.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (values,) = (yaml.safe_load(block) for block in blocks)
    written = one(helm.render(merged(BASE, values)), "ConfigMap", "tidegate-features")["data"]["feature_store.yaml"]
    assert yaml.safe_load(written) == values["features"]["config"]


def test_every_pod_that_pulls_has_the_registrys_credentials(helm: Helm) -> None:
    values: Json = {"image": {"pullSecrets": [{"name": "pull"}]}, "pipelines": {"namespaces": ["runs"]}}
    objects = helm.render(merged(BASE, values))
    for name in ("tidegate-engine", "tidegate-training"):
        assert one(objects, "ServiceAccount", name)["imagePullSecrets"] == [{"name": "pull"}]
    for body in objects:
        if body["kind"] in {"Deployment", "Job"}:
            assert body["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]


def test_every_group_of_the_schema_is_closed_and_every_value_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def check(place: Json, content: Any, path: str) -> int:
        if "description" in place:
            return 1
        assert place["additionalProperties"] is False, path
        assert set(place["properties"]) - {"global"} == set(content), path
        return sum(check(place["properties"][key], content[key], f"{path}.{key}") for key in content)

    assert check(schema, values, "") > 200


def test_every_value_is_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES)
    words = set(re.findall(r"\w+", text))
    for path in _paths(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))):
        assert "labels" in path or path[-1] in words, ".".join(path)


def test_nothing_in_the_templates_differs_from_one_rendering_to_the_next() -> None:
    """Argo CD renders without a cluster and again every few minutes."""
    forbidden = re.compile(
        r"(?<![$.\w])(lookup|now|date|ago|uuidv4|rand\w*|gen\w*|htpasswd|bcrypt|derivePassword|getHostByName)\b"
        r"|\.Capabilities|\.Release\.(IsInstall|IsUpgrade|Revision)|helm\.sh/hook"
    )
    for path in TEMPLATES:
        for action in re.findall(r"{{.*?}}", path.read_text(encoding="utf-8"), re.DOTALL):
            code = re.sub(r'"[^"]*"|/\*.*?\*/', "", action, flags=re.DOTALL)
            assert not (found := forbidden.search(code)), f"{path}: {found} in {action}"


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_secret_is_rendered(helm: Helm, name: str) -> None:
    objects = helm.render(VALUE_SETS[name])
    assert not [item for item in objects if item["kind"] == "Secret"]
    for workload, template in pods(objects):
        for container in _containers(template):
            for variable in container.get("env", []):
                secret = re.search("PASSWORD|TOKEN$|SECRET$|DATABASE_URL|STORE_URI|KEY$", variable["name"])
                value = variable.get("value", "")
                assert not (secret and value) or value.startswith("sqlite:///"), f"{workload}: {variable['name']}"
    for item in objects:
        if item["kind"] == "ConfigMap":
            for key, value in item["data"].items():
                assert not re.search(r"://[^/\s\"]*:[^/\s\"]*@", value), f"{item['metadata']['name']}: {key}"


def test_secrets_come_by_name_everywhere(helm: Helm) -> None:
    """H3: each name in the values is where its content is needed, and nowhere is a value for a content."""
    named = {
        path: f"secret-{number}"
        for number, path in enumerate(_paths(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))))
        if path[-1] in {"existingSecret", "webhookSecret"}
    }
    assert len(named) >= 11
    values: Json = merged(
        BASE, {"redis": {"address": "redis:6379"}, "kfp": {"url": "http://a", "authentication": "token"}}
    )
    for path, secret in named.items():
        own: Any = secret
        for key in reversed(path):
            own = {key: own}
        values = merged(values, own)
    text = helm.text(values)
    for path, secret in named.items():
        assert re.search(rf"\b{secret}\b", text), ".".join(path)
    schema = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert not re.search(r'"(password|token|apiKey|accessKey|secretKey|secretAccessKey)": \{', schema, re.IGNORECASE)


def test_names_of_the_contract(helm: Helm) -> None:
    objects = helm.render(merged(VALUE_SETS["pipelines elsewhere"]))
    for name in ("tidegate-platform", "tidegate-node-pools", "tidegate-engines"):
        one(objects, "ConfigMap", name, "models")
    for namespace in ("team-a", "team-b"):
        environment = one(objects, "ConfigMap", "tidegate-pipelines-env", namespace)["data"]
        assert environment["TIDEGATE_ATTESTATION_KEY_PATH"] == "/etc/tidegate/pipelines/attestation.key"
        assert environment["TIDEGATE_RECEIVER_TOKEN_PATH"] == "/etc/tidegate/pipelines/receiver.token"
        assert environment["TIDEGATE_CLUSTER__NAMESPACE"] == "models"  # where the routing is
        assert "TIDEGATE_DATABASE_URL" not in environment
        one(objects, "ConfigMap", "tidegate-node-pools", namespace)
        one(objects, "ServiceAccount", "tidegate-training", namespace)


def test_a_change_of_the_configuration_replaces_the_pods(helm: Helm) -> None:
    def marks(values: Json) -> dict[str, str]:
        templates = {name: pod["metadata"] for name, pod in pods(helm.render(values))}
        kept = templates.pop("Deployment/tidegate-mlflow")
        assert "annotations" not in kept, "MLflow reads none of it, and without its one pod there is no registry"
        return {name: metadata["annotations"]["tidegate.dev/config"] for name, metadata in templates.items()}

    before = marks(BASE)
    assert len(before) == 4
    changes: tuple[Json, ...] = (
        {"logLevel": "DEBUG"},
        {"gpuNodePools": {"cpu": {"cpu": "3"}}},
        {"redis": {"address": "redis:6379"}},
        {"features": {"config": {"project": "a"}}},
    )
    for change in changes:
        after = marks(merged(BASE, change))
        assert all(after[name] != before[name] for name in before)


def test_a_label_of_a_pod_wins_over_that_of_every_object(helm: Helm) -> None:
    values: Json = {"commonLabels": {"team": "a"}, "gateway": {"podLabels": {"team": "b"}}}
    text = helm.text(merged(BASE, values))
    assert not re.search(r"^( +team): .*\n\1:", text, re.MULTILINE), "no key twice"
    deployment = one(documents(text), "Deployment", "tidegate-gateway")
    assert deployment["metadata"]["labels"]["team"] == "a"
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "b"


def test_tokens_are_mounted_only_where_the_api_is_used(helm: Helm) -> None:
    mounted = {
        name.partition("/")[2]: pod["spec"]["automountServiceAccountToken"]
        for name, pod in pods(helm.render(VALUE_SETS["drift checks"]))
    }
    assert [name for name, token in mounted.items() if not token] == ["tidegate-mlflow", "tidegate-receiver"]


def test_a_drift_check_needs_no_volume_of_its_own(helm: Helm) -> None:
    """Reports go to the artifacts, firing alerts to the database: checks run at once, on whatever nodes."""

    def claims(values: Json) -> set[str]:
        checks = [pod for name, pod in pods(helm.render(values)) if name.startswith("CronJob/")]
        assert len(checks) == 2
        volumes = [volume for pod in checks for volume in pod["spec"]["volumes"]]
        return {item["persistentVolumeClaim"]["claimName"] for item in volumes if "persistentVolumeClaim" in item}

    assert claims(VALUE_SETS["drift checks"]) == set()
    assert claims(VALUE_SETS["local with drift checks"]) == {"tidegate-data"}
    assert not [item for item in helm.render(VALUE_SETS["drift checks"]) if item["kind"] == "PersistentVolumeClaim"]


def test_long_names_fit(helm: Helm) -> None:
    for item in helm.render(VALUE_SETS["drift checks"], name="a-release-with-quite-a-long-name-indeed-it-is-53-long"):
        limit = 52 if item["kind"] == "CronJob" else 63
        assert item["kind"] == "CustomResourceDefinition" or len(item["metadata"]["name"]) <= limit


def test_examples_of_values_render(helm: Helm) -> None:
    found = sorted(Path(ROOT / "examples" / "one-node").glob("values*.yaml"))
    assert found
    for path in found:
        helm.render(yaml.safe_load(path.read_text(encoding="utf-8")))


def _containers(template: Json) -> list[Json]:
    spec = template["spec"]
    return [*spec["containers"], *spec.get("initContainers", [])]


def _paths(content: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(content, dict) or not content:
        return [path]
    return [found for key, value in content.items() for found in _paths(value, (*path, key))]
