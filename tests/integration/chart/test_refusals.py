"""What the chart refuses before anything is installed: H1 of the acceptance targets."""

from __future__ import annotations

import pytest

from tests.integration.chart.charts import Helm, Json, merged
from tests.integration.chart.value_sets import BASE

pytestmark = pytest.mark.integration
_PEER: Json = {"namespaceSelector": {"matchLabels": {"team": "a"}}}


def _extra(*names: str) -> Json:
    source = {"secretKeyRef": {"name": "a", "key": "b"}}
    return {"extraEnv": [{"name": name, "valueFrom": source} for name in names]}


UNKNOWN: dict[str, tuple[Json, str, str]] = {
    "at the root": ({"gatway": {}}, "", "gatway"),
    "in a workload": ({"gateway": {"replica": 3}}, "/gateway", "replica"),
    "nested": ({"gateway": {"httpRoute": {"hostname": "a"}}}, "/gateway/httpRoute", "hostname"),
    "of an account": ({"scorer": {"serviceAccount": {"create": True}}}, "/scorer/serviceAccount", "create"),
    "of resources": ({"gateway": {"resources": {"request": {"cpu": 1}}}}, "/gateway/resources", "request"),
    "of a peer": (
        {"networkPolicy": {"gatewayFrom": [{"podSelector": {"app": "a"}}]}},
        "/networkPolicy/gatewayFrom/0/podSelector",
        "app",
    ),
    "in a pool": ({"gpuNodePools": {"l4": {"gpus": 4}}}, "/gpuNodePools/l4", "gpus"),
    "a setting": ({"settings": {"TIDEGATE_DRFT": "1"}}, "/settings", "TIDEGATE_DRFT"),
    "a setting with a secret": ({"settings": {"TIDEGATE_DATABASE_URL": "x"}}, "/settings", "TIDEGATE_DATABASE_URL"),
    "a toleration": ({"operator": {"tolerations": [{"kye": "a"}]}}, "/operator/tolerations/0", "kye"),
    "a forbidden volume": (
        {"receiver": {"extraVolumes": [{"name": "a", "hostPath": {"path": "/"}}]}},
        "/receiver/extraVolumes/0",
        "hostPath",
    ),
    "a drift check": (
        {"driftChecks": {"deployments": [{"deployment": "a", "cron": "* * * * *"}]}},
        "/driftChecks/deployments/0",
        "cron",
    ),
}


@pytest.mark.parametrize("where", UNKNOWN)
def test_an_unknown_value_is_refused_by_name(helm: Helm, where: str) -> None:
    values, place, key = UNKNOWN[where]
    assert f"at '{place}': additional properties '{key}' not allowed" in helm.refusal(merged(BASE, values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"logLevel": "LOUD"}, "at '/logLevel': value must be one of"),
        ({"gateway": {"port": 70000}}, "at '/gateway/port'"),
        ({"mlflow": {"url": "https://me:secret@mlflow"}}, "at '/mlflow/url'"),
        ({"images": {"serve": {"digest": "latest"}}}, "at '/images/serve/digest'"),
        ({"gpuNodePools": {"l4": {"memory": "much"}}}, "at '/gpuNodePools/l4/memory'"),
        ({"security": {"runAsUser": 0}}, "at '/security/runAsUser'"),
        ({"gpuNodePools": {"l4": {"memory": 8589934592}}}, "at '/gpuNodePools/l4/memory'"),
        ({"gpuNodePools": {"l4": {"memory": "24m"}}}, "at '/gpuNodePools/l4/memory'"),
        ({"gpuNodePools": {"l4": {"sharedMemory": 1}}}, "at '/gpuNodePools/l4/sharedMemory'"),
        ({"gpuNodePools": {"l4": {"cpu": "4Gi"}}}, "at '/gpuNodePools/l4/cpu'"),
        ({"gpuNodePools": {"l4": {"cpu": 0}}}, "at '/gpuNodePools/l4/cpu'"),
        ({"gpuNodePools": {"l4": {"kueueQueue": ""}}}, "at '/gpuNodePools/l4/kueueQueue'"),
        ({"gpuNodePools": {"l4": {"gpuResource": ""}}}, "at '/gpuNodePools/l4/gpuResource'"),
        ({"engines": {"head": {"memory": 8589934592}}}, "at '/engines/head/memory'"),
        ({"local": {"size": 10737418240}}, "at '/local/size'"),
        ({"pipelines": {"namespaces": ["Team_A"]}}, "at '/pipelines/namespaces/0'"),
        ({"pipelines": {"serviceAccount": ""}}, "at '/pipelines/serviceAccount'"),
        ({"scorer": {"serviceAccount": {"name": "My_Account"}}}, "at '/scorer/serviceAccount/name'"),
        ({"gateway": {"podDisruptionBudget": {"maxUnavailable": -1}}}, "podDisruptionBudget/maxUnavailable'"),
        ({"gateway": {"podDisruptionBudget": {"maxUnavailable": "one"}}}, "podDisruptionBudget/maxUnavailable'"),
        ({"networkPolicy": {"database": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}, "database/0/ipBlock/cidr'"),
        ({"driftChecks": {"schedule": "0 * * *"}}, "at '/driftChecks/schedule'"),
        ({"driftChecks": {"deployments": [{"deployment": "a", "schedule": "often"}]}}, "deployments/0/schedule'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(helm: Helm, values: Json, said: str) -> None:
    assert said in helm.refusal(merged(BASE, values))


def test_all_that_is_missing_is_said_at_once_with_what_to_do(helm: Helm) -> None:
    said = helm.refusal({})
    for value in (
        "database.existingSecret",
        "artifacts.uri",
        "inferenceLog.uri",
        "mlflow.server.existingSecret",
        "mlflow.server.artifactRoot",
        "attestation.existingSecret",
        "gateway.existingSecret",
        "receiver.existingSecret",
    ):
        assert f"- {value} is not set: " in said
    assert "kubectl create secret generic tidegate-attestation" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gateway": {"httpRoute": {"enabled": True}}}, "gateway.httpRoute.parentRefs is empty"),
        ({"gateway": {"terminationGracePeriodSeconds": 15}}, "set it above gateway.preStopSeconds + 10 = 15"),
        (
            {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 20}}},
            "gateway.autoscaling.minReplicas is above",
        ),
        ({"redis": {"existingSecret": "redis"}}, "redis.address is not"),
        ({"redis": {"tls": True}}, "redis.tls is set but redis.address is not"),
        ({"redis": {"address": "rediss://redis:6379"}}, "give host:port alone, and for TLS set redis.tls=true"),
        ({"driftChecks": {"mode": "kfp", "deployments": [{"deployment": "a"}]}}, "renders no CronJob"),
        ({"kfp": {"existingSecret": "a", "url": "http://a"}}, "kfp.authentication=none uses none"),
        ({"kfp": {"authentication": "cookie", "url": "http://a"}}, "kfp.existingSecret is not set"),
        ({"kfp": {"namespace": "a"}}, "kfp.url is not set, but other values of kfp are"),
        ({"kfp": {"version": "0.1.0"}}, "kfp.url is not set, but other values of kfp are"),
        ({"features": {"config": {"registry": "postgresql://a:secret@b/c"}}}, "features.config holds a password"),
        ({"features": {"config": {"online_store": {"password": "b"}}}}, "features.config holds a password"),
        (
            {"features": {"config": {"online_store": {"connection_string": "a:1,password=b"}}}},
            "features.config holds a password",
        ),
        (
            {"features": {"config": {"online_store": {"connection_string": 'a:1,password="b"'}}}},
            "features.config holds a password",
        ),
        (
            {
                "features": {"config": {"project": "a"}},
                "networkPolicy": {"redis": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
            },
            "set networkPolicy.redisPorts",
        ),
        (
            {"networkPolicy": {"gatewayFrom": [_PEER]}},
            "- networkPolicy.gatewayFrom names pods, but networkPolicy.metricsFrom",
        ),
        (
            {"networkPolicy": {"alertsFrom": [_PEER]}},
            "- networkPolicy.alertsFrom names pods, but networkPolicy.metricsFrom",
        ),
        (
            {name: {"serviceAccount": {"name": "one"}} for name in ("operator", "gateway")},
            "- gateway.serviceAccount.name and operator.serviceAccount.name are both the account one",
        ),
        (
            {"operator": {"serviceAccount": {"name": "tidegate-gateway"}}},
            "- gateway.serviceAccount.name and operator.serviceAccount.name are both the account tidegate-gateway",
        ),
        (
            {"engines": {"serviceAccount": {"name": "pipeline-runner"}}},
            "- engines.serviceAccount.name and pipelines.serviceAccount are both the account pipeline-runner",
        ),
        (
            {"kfp": {"url": "http://a", "namespace": "c"}, "pipelines": {"namespaces": ["a", "b"]}},
            "- kfp.namespace is c, which is none of pipelines.namespaces (a, b)",
        ),
        (
            {"kfp": {"url": "http://a", "namespace": "b"}},
            "- kfp.namespace is b, which is none of pipelines.namespaces (m",
        ),
        ({"gpuNodePools": {"GPU_L4": {"cpu": "4"}}}, "- gpuNodePools.GPU_L4 is no name of a pool"),
        (
            {"engines": {"head": {"nodePool": "system"}}, "gpuNodePools": {"gpu-l4": {}, "cpu": {}}},
            "- engines.head.nodePool is system, which is none of gpuNodePools (cpu, gpu-l4)",
        ),
        ({"driftChecks": {"deployments": [{"deployment": "a"}] * 2}}, "- driftChecks.deployments has a twice"),
        (
            {"gateway": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
            "- gateway.autoscaling goes by the share of the requested CPU",
        ),
        ({"commonLabels": {"app.kubernetes.io/name": "a"}}, "- commonLabels sets app.kubernetes.io/name"),
        ({"gateway": {"podLabels": {"tidegate.dev/runtime": "a"}}}, "- gateway.podLabels sets tidegate.dev/runtime"),
        ({"commonLabels": {"app.kubernetes.io/part-of": "a"}}, "- commonLabels sets app.kubernetes.io/part-of"),
        (
            {"mlflow": {"server": {"podLabels": {"app.kubernetes.io/component": "a"}}}},
            "- mlflow.server.podLabels sets app.kubernetes.io/component",
        ),
        (
            {"networkPolicy": {"enabled": True, "engines": {"kuberayFrom": []}}},
            "- networkPolicy.engines.kuberayFrom is empty, which lets everybody reach Ray",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(helm: Helm, values: Json, said: str) -> None:
    assert said in helm.refusal(merged(BASE, values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"redis": {"address": "redis:6379", "existingSecret": "redis"}, "gateway": _extra("FEAST_REDIS_PASSWORD")},
            "- gateway.extraEnv names FEAST_REDIS_PASSWORD, which the container has already",
        ),
        ({"scorer": _extra("TIDEGATE_DATABASE_URL")}, "- scorer.extraEnv names TIDEGATE_DATABASE_URL, which"),
        ({"receiver": _extra("POD_NAME")}, "- receiver.extraEnv names POD_NAME, which"),
        ({"driftChecks": _extra("A", "A")}, "- driftChecks.extraEnv names A, which"),
        ({"mlflow": {"server": _extra("HOME")}}, "- mlflow.server.extraEnv names HOME, which"),
    ],
)
def test_a_variable_that_a_container_would_have_twice_is_refused(helm: Helm, values: Json, said: str) -> None:
    """Applied server-side, as Helm and Argo CD do it, the whole Deployment would be."""
    assert said in helm.refusal(merged(BASE, values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"objectStorage": {"env": {"AWS_ACCESS_KEY_ID": "a"}}},
            "- objectStorage.env.AWS_ACCESS_KEY_ID holds a secret: put it into the Secret that objectStorage",
        ),
        (
            {"objectStorage": {"env": {"AWS_SECRET_ACCESS_KEY": "a"}}},
            "- objectStorage.env.AWS_SECRET_ACCESS_KEY holds a",
        ),
        (
            {"objectStorage": {"env": {"AWS_ENDPOINT_URL": "http://a:b@c"}}},
            "- objectStorage.env.AWS_ENDPOINT_URL holds a",
        ),
        (
            {"engines": {"env": {"HF_TOKEN": "a"}}},
            "- engines.env.HF_TOKEN holds a secret: put it into the Secret that engines.existingSecret names",
        ),
        ({"gpuNodePools": {"l4": {"env": {"DB_PASSWORD": "a"}}}}, "- gpuNodePools.l4.env.DB_PASSWORD holds a secret"),
        (
            {"gateway": {"extraEnv": [{"name": "REGISTRY", "value": "postgresql://me:secret@b/c"}]}},
            "- gateway.extraEnv gives REGISTRY a secret as its value",
        ),
        (
            {"mlflow": {"server": {"extraEnv": [{"name": "A_SECRET", "value": "a"}]}}},
            "- mlflow.server.extraEnv gives A_SECRET a secret as its value",
        ),
    ],
)
def test_a_secret_among_the_values_is_refused(helm: Helm, values: Json, said: str) -> None:
    refused = helm.refusal(merged(BASE, values))
    assert said in refused
    assert "me:secret" not in refused


def test_what_only_looks_wrong_is_not_refused(helm: Helm) -> None:
    files = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/token",
        "AWS_ENDPOINT_URL": "http://minio.storage.svc:9000",
    }
    variables = [
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
        {"name": "REGISTRY", "value": "postgresql://me:$(PASSWORD)@b/c"},
    ]
    helm.render(
        merged(
            BASE,
            {
                "objectStorage": {"env": files},
                "engines": {"env": {**files, "TOKENIZERS_PARALLELISM": False, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}},
                "gateway": {"extraEnv": variables, "podLabels": {"app.kubernetes.io/part-of": "ml"}},
                "scorer": {"podLabels": None},
                "operator": {"extraEnv": [{"name": "TIDEGATE_CLUSTER__RAY_TOKEN_SECRET", "value": "ray-token"}]},
                "commonLabels": {"app.kubernetes.io/environment": "prod", "tidegate.dev/team": "a"},
                "networkPolicy": {"enabled": True, "gatewayFrom": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]},
                "pipelines": {"namespaces": ["models", "team-a"]},
                "kfp": {"url": "http://a", "namespace": "team-a"},
                "gpuNodePools": {"l4": {"cpu": "500m", "memory": "1.5Gi", "topologyKey": ""}},
                "driftChecks": {"schedule": "@every 6h"},
            },
        )
    )
