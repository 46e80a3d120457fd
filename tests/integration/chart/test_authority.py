"""Certificates of an authority of one's own: one value, and every pod finds and uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.site import Site
from serving.operator.rayservice import EngineSite, rayservice
from tests.integration.chart.charts import CHART, Helm, Json, merged, one, pods
from tests.integration.chart.value_sets import BASE, LOCAL, VALUE_SETS
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import NodePool, read_node_pools

pytestmark = pytest.mark.integration
FILE = "/etc/tidegate/ca/ca.crt"
OF_STEPS = "/etc/tidegate/pipelines/ca.crt"
VARIABLES = ("AWS_CA_BUNDLE", "PGSSLROOTCERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
VALUES = VALUE_SETS["an authority of one's own"]
SOURCE = {"name": "company-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}


def _trusted(environment: Json) -> Json:
    return {name: environment.get(name) for name in VARIABLES}


def _pools(objects: list[Json], namespace: str, folder: Path) -> dict[str, NodePool]:
    file = folder / "pools.yaml"
    file.write_text(one(objects, "ConfigMap", "tidegate-node-pools", namespace)["data"]["node-pools.yaml"])
    return read_node_pools(file)


def test_every_container_of_the_release_finds_the_certificates_and_is_told_so(helm: Helm) -> None:
    objects = helm.render(VALUES)
    platform = one(objects, "ConfigMap", "tidegate-platform")["data"]
    found = dict(pods(objects))
    assert len(found) == 7
    for workload, template in found.items():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        assert len(containers) == (2 if workload.endswith("mlflow") else 1)
        for container in containers:
            (mount,) = (item for item in container["volumeMounts"] if item["mountPath"] == "/etc/tidegate/ca")
            assert mount["readOnly"] is True
            assert volumes[mount["name"]]["configMap"] == SOURCE
            told = {item["name"]: item.get("value") for item in container["env"]}
            if {"configMapRef": {"name": "tidegate-platform"}} in container.get("envFrom", []):
                told = {**platform, **told}
            assert _trusted(told) == dict.fromkeys(VARIABLES, FILE), workload


def test_engines_find_them_by_their_pool_and_heads_speak_tls_to_redis(helm: Helm, tmp_path: Path) -> None:
    objects = helm.render(VALUES)
    pools = _pools(objects, "models", tmp_path)
    settings = one(objects, "ConfigMap", "tidegate-platform")["data"]
    assert settings["TIDEGATE_CLUSTER__REDIS_ADDRESS"] == "rediss://redis.data.svc:6379"
    told = one(objects, "ConfigMap", "tidegate-engines")["data"]
    assert _trusted(told) == dict.fromkeys(VARIABLES, FILE)
    assert told["RAY_REDIS_CA_CERT"] == FILE
    site = EngineSite(
        ClusterSettings(
            engine_image="serve", engine_env_config="tidegate-engines", redis_address="rediss://redis.data.svc:6379"
        ),
        pools,
    )
    manifest = {
        "baseModel": {"uri": "s3://models/base"},
        "engine": {"type": "Transformers"},
        "placement": {"nodePool": "gpu-l4"},
    }
    cluster = rayservice("assistants", manifest, (), site)["spec"]["rayClusterConfig"]
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"] == "rediss://redis.data.svc:6379"
    for group in (cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]):
        spec = group["template"]["spec"]
        assert {"name": "tidegate-ca", "configMap": SOURCE} in spec["volumes"]
        assert {"models", "tidegate-ca"} <= {volume["name"] for volume in spec["volumes"]}
        mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts["/etc/tidegate/ca"] == {"name": "tidegate-ca", "mountPath": "/etc/tidegate/ca", "readOnly": True}


def test_steps_and_training_find_them_among_the_keys_of_their_secret(helm: Helm, tmp_path: Path) -> None:
    """Kubeflow Pipelines mounts what a package names, and a package is made before anybody installs it."""
    assert Path(OF_STEPS).parent == Path(Site().environment.files)
    objects = helm.render(VALUES)
    for namespace in ("models", "team-a"):
        told = one(objects, "ConfigMap", "tidegate-pipelines-env", namespace)["data"]
        assert _trusted(told) == dict.fromkeys(VARIABLES, OF_STEPS)
    elsewhere = _pools(objects, "team-a", tmp_path)
    assert [volume["name"] for volume in elsewhere["gpu-l4"].volumes] == ["models"]  # no ConfigMap is there


def test_what_a_team_says_itself_counts(helm: Helm) -> None:
    mine = {"objectStorage": {"env": {"AWS_CA_BUNDLE": "/mine.crt"}}, "engines": {"env": {"SSL_CERT_FILE": "/e.crt"}}}
    server = {"mlflow": {"server": {"extraEnv": [{"name": "PGSSLROOTCERT", "value": "/mlflow.crt"}]}}}
    objects = helm.render(merged(VALUES, mine, server))
    for name in ("tidegate-platform", "tidegate-engines", "tidegate-pipelines-env"):
        assert one(objects, "ConfigMap", name, "models")["data"]["AWS_CA_BUNDLE"] == "/mine.crt"
    assert one(objects, "ConfigMap", "tidegate-engines")["data"]["SSL_CERT_FILE"] == "/e.crt"
    spec = dict(pods(objects))["Deployment/tidegate-mlflow"]["spec"]
    for container in (*spec["containers"], *spec["initContainers"]):
        told = [(item["name"], item.get("value")) for item in container["env"]]
        assert len(dict(told)) == len(told)  # nothing twice
        assert dict(told)["PGSSLROOTCERT"] == "/mlflow.crt"
        assert dict(told)["AWS_CA_BUNDLE"] == "/mine.crt"


@pytest.mark.parametrize("values", [BASE, LOCAL, VALUE_SETS["Redis by TLS with a public certificate"]])
def test_without_the_value_nothing_of_it_is_rendered(helm: Helm, values: Json) -> None:
    text = helm.text(values)
    assert "tidegate-ca" not in text
    assert not [name for name in VARIABLES if name in text]


def test_a_redis_with_a_public_certificate_is_verified_by_the_images_own_file(helm: Helm) -> None:
    """Ray trusts nothing by itself."""
    objects = helm.render(VALUE_SETS["Redis by TLS with a public certificate"])
    told = one(objects, "ConfigMap", "tidegate-engines")["data"]
    assert told["RAY_REDIS_CA_CERT"] == "/etc/ssl/certs/ca-certificates.crt"


@pytest.mark.parametrize(
    ("own", "path"),
    [({}, FILE), ({"caConfigMap": "kubeflow-ca"}, "/etc/tidegate/kfp-ca/ca.crt")],
)
def test_kubeflow_pipelines_is_verified_by_it_unless_it_has_its_own(helm: Helm, own: Json, path: str) -> None:
    objects = helm.render(merged(VALUES, {"kfp": {"url": "https://kubeflow.example.com/pipeline", **own}}))
    container = dict(pods(objects))["Deployment/tidegate-receiver"]["spec"]["containers"][0]
    assert {"name": "TIDEGATE_KFP__CA_PATH", "value": path} in container["env"]
    assert path.rpartition("/")[0] in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"gpuNodePools": {"cpu": {"volumes": [{"name": "tidegate-ca", "configMap": {"name": "a"}}]}}},
            "gpuNodePools.cpu has a volume named tidegate-ca",
        ),
        (
            {"gpuNodePools": {"cpu": {"volumeMounts": [{"name": "ca", "mountPath": "/etc/tidegate/ca"}]}}},
            "gpuNodePools.cpu mounts something at /etc/tidegate/ca",
        ),
        (
            {"mlflow": {"server": {"extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/tidegate/ca/"}]}}},
            "mlflow.server mounts something at /etc/tidegate/ca/",
        ),
        ({"scorer": {"extraVolumes": [{"name": "tidegate-ca", "emptyDir": {}}]}}, "scorer has a volume named"),
    ],
)
def test_what_stands_in_its_place_is_refused_by_name(helm: Helm, values: Json, said: str) -> None:
    refused = helm.refusal(merged(VALUES, values))
    assert f"- {said}" in refused
    assert "take it out, or unset certificateAuthority.configMap" in refused
    helm.render(merged(BASE, values))  # without the value it may stand there


def test_the_notes_name_the_config_map_and_the_key_of_the_secret(helm: Helm) -> None:
    notes = helm.run("install", "tidegate", str(CHART), "--dry-run=client", "--namespace", "models", values=VALUES)
    notes = notes.partition("NOTES:")[2]
    assert "kubectl -n models get configmap company-ca" in notes
    assert "under the key ca.crt of their Secret tidegate-pipelines" in notes


def test_another_authority_replaces_the_pods(helm: Helm) -> None:
    def volumes(values: Json) -> list[Json]:
        return [volume for _, pod in pods(helm.render(values)) for volume in pod["spec"]["volumes"]]

    assert volumes(VALUES) != volumes(merged(VALUES, {"certificateAuthority": {"configMap": "next-ca"}}))
