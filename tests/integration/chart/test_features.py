"""The feature store that gateways and pipeline steps share, as the chart renders it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.packages import ENV_FOLDER
from tests.integration.chart.charts import CHART, Helm, Json, merged, one, pods
from tests.integration.chart.value_sets import BASE, LOCAL, VALUE_SETS
from tests.shared_features import configuration
from tidegate.adapters.feast_config import read_config
from tidegate.settings import load_settings

pytestmark = pytest.mark.integration
FILE = "feature_store.yaml"
WITHOUT = ("base", "local", "local and Redis", "features in a folder of one's own")


def _gateway(objects: list[Json]) -> tuple[Json, dict[str, Json]]:
    spec = dict(pods(objects))["Deployment/tidegate-gateway"]["spec"]
    return spec, {variable["name"]: variable for variable in spec["containers"][0]["env"]}


@pytest.mark.parametrize(
    ("name", "redis", "password", "tls"),
    [
        ("Ray's token and Redis", "redis.example.com:6379", True, False),
        ("Redis without a password", "redis.data.svc:6380", False, False),
        ("an authority of one's own", "redis.data.svc:6379", True, True),
    ],
)
def test_it_is_the_configuration_that_was_tested_with_real_parts(
    helm: Helm, name: str, redis: str, password: bool, tls: bool
) -> None:
    objects = helm.render(VALUE_SETS[name])
    mounted = one(objects, "ConfigMap", "tidegate-features")["data"][FILE]
    assert yaml.safe_load(mounted) == configuration(redis, password=password, tls=tls)
    of_steps = one(objects, "ConfigMap", "tidegate-pipelines-env", "models")["data"]
    assert yaml.safe_load(of_steps[FILE]) == yaml.safe_load(mounted)


def test_gateways_find_file_and_password(helm: Helm) -> None:
    objects = helm.render(VALUE_SETS["Ray's token and Redis"])
    spec, variables = _gateway(objects)
    mounts = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["features"]["configMap"]["name"] == "tidegate-features"
    assert mounts["features"]["readOnly"] is True
    assert variables["TIDEGATE_FEATURES__CONFIG"]["value"] == f"{mounts['features']['mountPath']}/{FILE}"
    secret = {"name": "redis", "key": "password"}
    assert variables["FEAST_REDIS_PASSWORD"]["valueFrom"] == {"secretKeyRef": secret}
    assert "valueFrom" in variables["TIDEGATE_DATABASE_URL"]


def test_steps_find_the_file_where_their_pods_mount_the_environment(
    helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = merged(VALUE_SETS["Ray's token and Redis"], {"pipelines": {"namespaces": ["team-a"]}})
    environment = one(helm.render(values), "ConfigMap", "tidegate-pipelines-env", "team-a")["data"]
    assert environment["TIDEGATE_FEATURES__CONFIG"] == f"{ENV_FOLDER}/{FILE}"
    (tmp_path / FILE).write_text(environment[FILE])
    secrets = {"TIDEGATE_DATABASE_URL": "postgresql+psycopg://a:b@c/d", "FEAST_REDIS_PASSWORD": "e"}
    for name, value in {**environment, **secrets}.items():
        if name != FILE:
            monkeypatch.setenv(name, value)
    assert str(load_settings().features.config) == f"{ENV_FOLDER}/{FILE}"
    found = read_config(tmp_path / FILE)
    assert found["registry"]["path"] == secrets["TIDEGATE_DATABASE_URL"]
    assert 'password="e"' in found["online_store"]["connection_string"].split(",")


@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_shared_store_nothing_of_it_is_rendered(helm: Helm, name: str) -> None:
    objects = helm.render(VALUE_SETS[name])
    assert not [item for item in objects if item["metadata"]["name"] == "tidegate-features"]
    spec, variables = _gateway(objects)
    assert "features" not in {volume["name"] for volume in spec["volumes"]}
    assert not {"TIDEGATE_FEATURES__CONFIG", "FEAST_REDIS_PASSWORD"} & set(variables)
    assert FILE not in one(objects, "ConfigMap", "tidegate-pipelines-env")["data"]


def test_with_local_extras_gateways_and_steps_share_a_folder_of_the_volume(helm: Helm) -> None:
    objects = helm.render(LOCAL)
    spec, _ = _gateway(objects)
    folder = one(objects, "ConfigMap", "tidegate-platform")["data"]["TIDEGATE_FEAST_REPO"]
    assert one(objects, "ConfigMap", "tidegate-pipelines-env")["data"]["TIDEGATE_FEAST_REPO"] == folder
    data = next(mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "data")
    assert folder.startswith(f"{data['mountPath']}/")


def test_a_configuration_of_ones_own_is_taken_as_it_is(helm: Helm) -> None:
    values = VALUE_SETS["features of one's own"]
    objects = helm.render(values)
    for name in ("tidegate-features", "tidegate-pipelines-env"):
        assert yaml.safe_load(one(objects, "ConfigMap", name)["data"][FILE]) == values["features"]["config"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Ray's token and Redis", {"ports": [{"protocol": "TCP", "port": 6379}]}),
        ("Redis without a password", {"ports": [{"protocol": "TCP", "port": 6380}]}),
        ("base", None),
        ("local and Redis", None),
    ],
)
def test_the_gateway_alone_may_reach_redis(helm: Helm, name: str, rule: Json | None) -> None:
    policies = [item for item in helm.render(VALUE_SETS[name]) if item["kind"] == "NetworkPolicy"]
    reaching = {
        item["metadata"]["name"]: each
        for item in policies
        for each in item["spec"].get("egress", [])
        if any(port["port"] in (6379, 6380) for port in each.get("ports", []))
    }
    assert reaching == ({} if rule is None else {"tidegate-gateway": rule})


def test_peers_and_ports_of_redis_can_be_named(helm: Helm) -> None:
    values = merged(VALUE_SETS["strict network"], {"redis": {"address": "redis:6379"}})
    policy: Any = one(helm.render(values), "NetworkPolicy", "tidegate-gateway")["spec"]["egress"]
    wanted = {
        "ports": [{"protocol": "TCP", "port": port} for port in (6379, 26379)],
        "to": [{"podSelector": {"matchLabels": {"app": "redis"}}}],
    }
    assert wanted in policy


@pytest.mark.parametrize("name", ["base", "local", "features in a folder of one's own", "Ray's token and Redis"])
def test_the_notes_say_when_features_are_not_shared(helm: Helm, name: str) -> None:
    notes = helm.run(
        "install", "tidegate", str(CHART), "--dry-run=client", "--namespace", "models", values=VALUE_SETS[name]
    )
    notes = notes.partition("NOTES:")[2]
    assert notes
    assert ("share no feature store" in notes) == (name == "base")
    assert ("FEAST_REDIS_PASSWORD in the Secret tidegate-pipelines" in notes) == (name == "Ray's token and Redis")


def test_the_notes_have_been_read(helm: Helm) -> None:
    """Words of a line that a condition puts together."""
    values = merged(BASE, {"redis": {"address": "redis:6379", "existingSecret": "redis"}})
    notes = helm.run("install", "tidegate", str(CHART), "--dry-run=client", "--namespace", "models", values=values)
    assert "Features are shared by Redis at redis:6379 and the database. Pipeline steps find Redis' password" in notes
