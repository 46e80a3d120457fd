"""What the chart promises to the processes that it starts, checked with their own code: settings, pools, metrics."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitoring.alerts.metrics import ReceiverMetrics
from monitoring.alerts.tokens import read_token
from serving.gateway.identity import Pseudonyms
from serving.gateway.metrics import Metrics as GatewayMetrics
from serving.operator.metrics import Metrics as OperatorMetrics
from tests.integration.chart.charts import CHART, Helm, Json, merged, one, pods
from tests.integration.chart.value_sets import BASE, LOCAL, VALUE_SETS
from tests.unit.gateway.tables import table
from tidegate import attestation
from tidegate.adapters.mlflow_server import mlflow_environment
from tidegate.api_keys import ApiKeys
from tidegate.settings import Settings, load_settings

pytestmark = pytest.mark.integration


def _environment(objects: list[Json], container: Json) -> dict[str, str]:
    """As the kubelet makes it of ConfigMaps and plain values; a Secret's values are not here."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= one(objects, "ConfigMap", source["configMapRef"]["name"], "models")["data"]
    for variable in container["env"]:
        found[variable["name"]] = variable.get("value", "from-elsewhere")
    return found


def _started(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_process_can_read_its_settings(helm: Helm, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    objects = helm.render(VALUE_SETS[name])
    for workload, template in pods(objects):
        container = template["spec"]["containers"][0]
        if container["name"] == "mlflow":
            continue
        with monkeypatch.context() as patch:
            settings = _started(patch, _environment(objects, container))
        assert settings.profile == "cluster", workload
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert any(str(settings.home).startswith(mount) for mount in mounts), workload
        assert str(settings.cache).startswith(str(settings.home))


@pytest.mark.parametrize(
    ("component", "paths"),
    [
        ("operator", ("attestation_key_path", "ray_token_path")),
        ("gateway", ("api_keys_path",)),
        ("receiver", ("receiver_token_path",)),
    ],
)
def test_what_a_process_reads_is_mounted(
    helm: Helm, monkeypatch: pytest.MonkeyPatch, component: str, paths: tuple[str, ...]
) -> None:
    objects = helm.render(VALUE_SETS["Ray's token and Redis"])
    template = dict(pods(objects))[f"Deployment/tidegate-{component}"]["spec"]
    settings = _started(monkeypatch, _environment(objects, template["containers"][0]))
    files = _files(objects, template)
    for path in paths:
        assert str(getattr(settings, path)) in files, path
    if component == "operator":
        assert str(settings.cluster.node_pools_path) in files
    if component == "gateway":
        assert str(settings.secrets / "user-pseudonym.key") in files


def test_settings_that_the_chart_renders_are_known_and_no_others(helm: Helm) -> None:
    """A variable that nobody reads would be an option that does nothing."""
    known = set(re.findall(r"`(TIDEGATE_[A-Z0-9_]+)`", (CHART.parents[1] / "docs" / "settings.md").read_text()))
    for name in VALUE_SETS:
        for item in helm.render(VALUE_SETS[name]):
            if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith(
                ("-platform", "-pipelines-env", "-engines")
            ):
                rendered = {key for key in item["data"] if key.startswith("TIDEGATE_")}
                assert rendered <= known, name


def test_no_setting_that_the_chart_makes_can_be_set_past_its_value(helm: Helm) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    free = set(schema["properties"]["settings"]["properties"]) - {"TIDEGATE_FEAST_REPO"}  # a folder of one's own
    for values in [*VALUE_SETS.values(), {**VALUE_SETS["pools"], "engines": {"head": {"nodePool": "cpu"}}}]:
        objects = helm.render(values)
        made = {
            variable
            for item in objects
            if item["kind"] == "ConfigMap"
            for variable in item["data"]
            if variable.startswith("TIDEGATE_")
        }
        made |= {
            variable["name"]
            for _, pod in pods(objects)
            for item in pod["spec"]["containers"]
            for variable in item["env"]
        }
        assert not (made - set(values.get("settings", {}))) & free


def test_mlflow_runs_as_on_one_machine(helm: Helm) -> None:
    objects = helm.render(LOCAL)
    server = dict(pods(objects))["Deployment/tidegate-mlflow"]["spec"]["containers"][0]
    environment = _environment(objects, server)
    for name, value in mlflow_environment().items():
        assert environment[name] == value
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert "tidegate-mlflow.models.svc:*" in environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_whoever_reads_object_storage_is_told_its_region_by_both_names(helm: Helm) -> None:
    """boto3, and so MLflow, knows AWS_DEFAULT_REGION alone; what users set is AWS_REGION."""
    env = {"AWS_REGION": "eu-test-1", "AWS_ENDPOINT_URL": "http://minio.storage.svc:9000"}
    objects = helm.render(merged(BASE, {"objectStorage": {"env": env}}))
    told = [_environment(objects, container) for _, pod in pods(objects) for container in pod["spec"]["containers"]]
    told.append(one(objects, "ConfigMap", "tidegate-engines", "models")["data"])
    for found in told:
        assert found.items() >= {**env, "AWS_DEFAULT_REGION": "eu-test-1"}.items()


def test_a_gateway_has_time_to_drain(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    for values in ({}, {"terminationGracePeriodSeconds": 120, "preStopSeconds": 20}):
        objects = helm.render(merged(BASE, {"gateway": values}))
        spec = dict(pods(objects))["Deployment/tidegate-gateway"]["spec"]
        (container,) = spec["containers"]
        with monkeypatch.context() as patch:
            limits = _started(patch, _environment(objects, container)).limits
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] == sleep + limits.drain_seconds + 10
        assert limits.drain_seconds >= limits.timeout_seconds, "an answer that may take so long is cut off"


def test_the_documented_commands_make_secrets_that_the_processes_take(tmp_path: Path) -> None:
    text = (CHART.parents[1] / "docs" / "chart.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(openssl rand.*?)kubectl", text, re.DOTALL)
    assert block
    subprocess.run(["bash", "-euc", block.group(1) + 'printf %s "$key" > key'], cwd=tmp_path, check=True)
    assert len(attestation.load_key(tmp_path / "attestation.key")) == 32
    assert len(read_token(tmp_path / "token")) >= 32
    Pseudonyms.load_or_create(tmp_path / "user-pseudonym.key").of("somebody")
    keys = ApiKeys.load(tmp_path / "api-keys.yaml")
    caller = keys.authenticate(f"Bearer {(tmp_path / 'key').read_text()}")
    assert caller is not None
    assert caller.name == "app"


# --- metrics ----------------------------------------------------------------------------------------------------------


def _registries() -> tuple[CollectorRegistry, ...]:
    """Of processes that know a deployment with two versions, before anything has happened."""
    gateway, operator = GatewayMetrics(), OperatorMetrics()
    gateway.expect(table("http://engine", epoch=1, candidate_weight=10.0))
    operator.expect(["intent-assistant"])
    return gateway.registry, operator.registry, ReceiverMetrics().registry


def _metrics() -> dict[str, set[str]]:
    """Sample name → labels, of all that the processes can tell."""
    found: dict[str, set[str]] = {}
    for registry in _registries():
        for collector in registry._collector_to_names:
            labels = set(collector._labelnames)  # type: ignore[attr-defined]
            for name in registry._collector_to_names[collector]:
                found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def _expressions(helm: Helm) -> list[str]:
    objects = helm.render(merged(VALUE_SETS["monitoring"], {"monitoring": {"prometheusRule": {"disabled": []}}}))
    rules = one(objects, "PrometheusRule", "tidegate")["spec"]["groups"][0]["rules"]
    found = [rule["expr"] for rule in rules]
    for path in sorted((CHART / "dashboards").glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        found += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        found += [item["definition"] for item in board["templating"]["list"] if "definition" in item]
    assert len(found) > 40
    return found


def test_alerts_and_dashboards_use_metrics_and_labels_that_exist(helm: Helm) -> None:
    metrics = _metrics()
    used = set()
    for expression in _expressions(helm):
        names = re.findall(r"\btidegate_[a-z_]+", re.sub(r'"[^"]*"', '""', expression))
        assert names, expression
        used |= set(names)
        for name, selector in re.findall(r"\b(tidegate_[a-z_]+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)=?[=!~]+\"", selector))
            assert labels <= metrics[name] | {"namespace", "job", "pod"}, expression
        for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            given = set().union(*(metrics[name] for name in names)) | {"pod"}
            assert {label.strip() for label in group.split(",")} <= given, expression
        assert expression.count("(") == expression.count(")")
    assert used <= set(metrics)
    families = {_family(name) for name in metrics}
    assert {_family(name) for name in used} == families  # whatever is counted can be seen somewhere


def test_what_is_counted_begins_at_0(helm: Helm) -> None:
    """`rate` and `increase` see a series' second sample first: one that begins at 1 would hide its first event, and an
    alert on what happens once would never fire."""
    begun: dict[str, list[dict[str, str]]] = {}
    for registry in _registries():
        for sample in (sample for family in registry.collect() for sample in family.samples):
            if sample.value == 0:
                begun.setdefault(sample.name, []).append(sample.labels)
    watched = set()
    for expression in _expressions(helm):
        for name, selector in re.findall(
            r"\b(?:increase|rate|delta|irate|resets)\((tidegate_\w+)\{([^}]*)\}", expression
        ):
            if not name.endswith("_bucket"):  # quantiles are of many
                assert any(_selects(selector, labels) for labels in begun.get(name, [])), expression
                watched.add(name)
    assert len(watched) > 10


def _selects(selector: str, labels: dict[str, str]) -> bool:
    """Whether a series is chosen, as far as its own labels and no variable of a dashboard decide that."""
    for label, operator, value in re.findall(r"(\w+)(=~|!~|!=|=)\"([^\"]*)\"", selector):
        if label in labels and not value.startswith("$"):
            same = bool(re.fullmatch(value, labels[label])) if "~" in operator else value == labels[label]
            if same == operator.startswith("!"):
                return False
    return True


def _family(name: str) -> str:
    return re.sub(r"_(total|bucket|sum|count|created)$", "", name)


def test_every_alert_says_what_to_do(helm: Helm) -> None:
    values = merged(VALUE_SETS["monitoring"], {"monitoring": {"prometheusRule": {"disabled": []}}})
    rules = one(helm.render(values), "PrometheusRule", "tidegate")["spec"]["groups"][0]["rules"]
    for rule in rules:
        assert {"summary", "description", "runbook"} <= set(rule["annotations"]), rule["alert"]
        assert rule["labels"]["team"] == "ml"
        assert (
            "absent(" not in rule["expr"]
        )  # it has other labels than what is 0, and `for` would begin anew: or vector(0)
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    left = one(helm.render(VALUE_SETS["monitoring"]), "PrometheusRule", "tidegate")["spec"]["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules} - {rule["alert"] for rule in left} == {"TidegateRolledBack"}


def test_monitors_find_the_services(helm: Helm) -> None:
    objects = helm.render(VALUE_SETS["monitoring"])
    monitors = [item for item in objects if item["kind"] == "ServiceMonitor"]
    assert len(monitors) == 3
    for monitor in monitors:
        service = one(objects, "Service", monitor["metadata"]["name"])
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_services_and_policies_find_their_pods(helm: Helm) -> None:
    objects = helm.render(VALUE_SETS["drift checks"])
    labels = {name.partition("-")[2]: template["metadata"]["labels"] for name, template in pods(objects)}
    for item in objects:
        if item["kind"] == "Service":
            part = item["metadata"]["name"].removeprefix("tidegate-")
            assert item["spec"]["selector"].items() <= labels[part].items()
    denied = one(objects, "NetworkPolicy", "tidegate-default-deny")["spec"]["podSelector"]["matchLabels"]
    assert all(denied.items() <= found.items() for found in labels.values())


def _files(objects: list[Json], spec: Json) -> set[str]:
    """Paths of the files that the container finds."""
    volumes: dict[str, Any] = {volume["name"]: volume for volume in spec["volumes"]}
    found = set()
    for mount in spec["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "secret" in volume:
            found |= {f"{mount['mountPath']}/{item['path']}" for item in volume["secret"]["items"]}
        if "configMap" in volume:
            data = one(objects, "ConfigMap", volume["configMap"]["name"], "models")["data"]
            found |= {f"{mount['mountPath']}/{key}" for key in data}
    return found
