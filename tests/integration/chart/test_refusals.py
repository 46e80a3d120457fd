"""What the chart refuses before anything is installed: H1 of the acceptance targets."""

from __future__ import annotations

import pytest

from tests.integration.chart.charts import Helm, Json, merged
from tests.integration.chart.value_sets import BASE

pytestmark = pytest.mark.integration

UNKNOWN: dict[str, tuple[Json, str, str]] = {
    "at the root": ({"gatway": {}}, "", "gatway"),
    "in a workload": ({"gateway": {"replica": 3}}, "/gateway", "replica"),
    "nested": ({"gateway": {"httpRoute": {"hostname": "a"}}}, "/gateway/httpRoute", "hostname"),
    "of an account": ({"scorer": {"serviceAccount": {"create": True}}}, "/scorer/serviceAccount", "create"),
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
    ],
)
def test_values_that_contradict_each_other_are_refused(helm: Helm, values: Json, said: str) -> None:
    assert said in helm.refusal(merged(BASE, values))
