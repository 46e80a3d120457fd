"""What is rendered is what KubeRay's own definitions take, v1.6 and v1.7, and what "restricted" pods may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.operator.rayservice import EngineSite, rayservice, serve_config, service
from tests.kube_api import KubeApi
from tests.kube_fixtures import install
from tests.kuberay import definitions
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import NodePool, Toleration, read_node_pools
from tidegate.errors import InvalidInput
from tidegate.ports import AdapterSlot

pytestmark = pytest.mark.integration
SLOT = AdapterSlot(id="banking-intent/7", uri="s3://models/7", digest="sha256:" + "a" * 64, rank=8)
GPU = NodePool(
    node_selector={"pool": "l4"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
    gpus_per_node=4,
    priority_class_name="serving",
    volumes=({"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},),
    volume_mounts=({"name": "models", "mountPath": "/models", "readOnly": True},),
    env={"NCCL_SOCKET_IFNAME": "eth0"},
)
SETTINGS = ClusterSettings(
    engine_image="registry.example/engine@sha256:" + "b" * 64,
    service_account="engine",
    ray_token_secret="ray-token",
    redis_address="redis:6379",
    redis_password_secret="redis",
    engine_env_secret="object-storage",
)
SITE = EngineSite(SETTINGS, {"gpu-l4": GPU, "cpu": NodePool()})


def spec(**placement: Any) -> dict[str, Any]:
    return {
        "baseModel": {"uri": "s3://models/smollm2"},
        "engine": {"maxAdapters": 8},
        "placement": {"nodePool": "gpu-l4", "gpusPerReplica": 1, "minReplicas": 2, "maxReplicas": 8} | placement,
    }


def pods(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = body["spec"]["rayClusterConfig"]
    return {
        "head": cluster["headGroupSpec"]["template"]["spec"],
        "worker": cluster["workerGroupSpecs"][0]["template"]["spec"],
    }


@pytest.mark.parametrize("version", ["v1.6", "v1.7"])
def test_kuberays_definitions_take_every_field(kube: KubeApi, namespace: str, version: str) -> None:
    files = definitions(version)
    if not files:
        pytest.skip(f"no definitions of KubeRay {version}: name their folder in TIDEGATE_CRDS, or install Go")
    install(kube, *files)
    for name, manifest in {"scaled": spec(), "fixed": spec(minReplicas=1, maxReplicas=1), "cpu": CPU}.items():
        body = {"apiVersion": "ray.io/v1", "kind": "RayService", **rayservice(name, manifest, [SLOT], SITE)}
        kube.kubectl("create", "--validate=strict", "-f", "-", namespace=namespace, stdin=json.dumps(body))


CPU = spec(nodePool="cpu", gpusPerReplica=0, minReplicas=1, maxReplicas=1)


def test_workers_go_to_the_nodes_of_their_pool_with_their_gpus() -> None:
    body = rayservice("llama", spec(), [SLOT], SITE)
    worker = pods(body)["worker"]
    assert worker["nodeSelector"] == {"pool": "l4"}
    assert worker["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert worker["priorityClassName"] == "serving"
    assert worker["topologySpreadConstraints"][0]["labelSelector"] == {"matchLabels": {"tidegate.dev/runtime": "llama"}}
    resources = worker["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert resources["limits"]["memory"] == resources["requests"]["memory"]
    head = pods(body)["head"]
    assert "nodeSelector" not in head
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    for pod in (head, worker):  # what Serve imports, it imports on the head too
        assert {"name": "models", "mountPath": "/models", "readOnly": True} in pod["containers"][0]["volumeMounts"]
        assert "models" in {volume["name"] for volume in pod["volumes"]}
        assert pod["containers"][0]["env"] == [{"name": "NCCL_SOCKET_IFNAME", "value": "eth0"}]
    group = body["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 8)
    assert body["spec"]["rayClusterConfig"]["enableInTreeAutoscaling"] is True


def test_the_heads_size_is_the_platform_teams_to_say() -> None:
    small = EngineSite(SETTINGS.model_copy(update={"head_cpu": "200m", "head_memory": "1Gi"}), SITE.pools)
    head = pods(rayservice("llama", spec(), [SLOT], small))["head"]
    assert head["containers"][0]["resources"] == {
        "requests": {"cpu": "200m", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }


def test_a_head_goes_to_the_nodes_of_a_pool_of_its_own() -> None:
    pools = {**SITE.pools, "system": NodePool(node_selector={"pool": "system"}, priority_class_name="serving-heads")}
    site = EngineSite(SETTINGS.model_copy(update={"head_node_pool": "system"}), pools)
    made = pods(rayservice("llama", spec(), [SLOT], site))
    assert made["head"]["nodeSelector"] == {"pool": "system"}
    assert made["head"]["priorityClassName"] == "serving-heads"
    assert made["worker"]["nodeSelector"] == {"pool": "l4"}
    mounts = made["head"]["containers"][0]["volumeMounts"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in mounts, "of its workers' pool"
    with pytest.raises(InvalidInput, match="node pool 'system' does not exist") as caught:
        rayservice("llama", spec(), [SLOT], EngineSite(site.settings, SITE.pools))
    assert "HEAD_NODE_POOL" in caught.value.next_step


def test_ray_asks_for_its_token_and_keeps_its_state_in_redis() -> None:
    cluster = rayservice("llama", spec(), [SLOT], SITE)["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    password = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}
    assert cluster["gcsFaultToleranceOptions"] == {"redisAddress": "redis:6379", "redisPassword": password}


def test_pods_are_restricted_ones(kube: KubeApi) -> None:
    """Pod Security "restricted", asked of the API server itself."""
    namespace = kube.make_namespace()
    kube.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    for name, pod in pods(rayservice("llama", spec(), [SLOT], SITE)).items():
        pod_spec: dict[str, Any] = {**pod, "restartPolicy": "Never"}
        pod_spec.pop("priorityClassName", None)  # nobody made the class here
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec}
        kube.kubectl("create", "--dry-run=server", "-f", "-", namespace=namespace, stdin=json.dumps(body))


def test_a_change_of_adapters_changes_nothing_but_the_serve_configuration() -> None:
    one, two = rayservice("llama", spec(), [], SITE), rayservice("llama", spec(), [SLOT], SITE)
    assert one["spec"]["rayClusterConfig"] == two["spec"]["rayClusterConfig"]
    changed = [serve_config(body)["applications"][0]["deployments"][0]["user_config"] for body in (one, two)]
    assert [len(config["adapters"]) for config in changed] == [0, 1]


def test_the_service_before_an_engine_selects_the_serve_proxies_of_one_cluster() -> None:
    assert service("llama", "llama-abcde")["spec"]["selector"] == {
        "ray.io/cluster": "llama-abcde",
        "ray.io/serve": "true",
    }


@pytest.mark.parametrize(
    ("manifest", "site", "problem"),
    [
        (spec(nodePool="gpu-h100"), SITE, "node pool 'gpu-h100' does not exist. Set .* one of: cpu, gpu-l4"),
        (spec(gpusPerReplica=8), SITE, "wants 8 GPUs per replica; a node of pool 'gpu-l4' has 4"),
        (spec(), EngineSite(ClusterSettings(), SITE.pools), "names no image, and the platform has no default"),
        ({**spec(), "engine": {"type": "VLLM"}}, SITE, "engine type VLLM is not available in this release"),
    ],
)
def test_what_cannot_be_rendered_says_what_to_change(manifest: dict[str, Any], site: EngineSite, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        rayservice("llama", manifest, [SLOT], site)


def test_node_pools_are_read_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pools.yaml"
    path.write_text(yaml.safe_dump({"gpu-l4": {"nodeSelector": {"pool": "l4"}, "gpusPerNode": 4}}))
    assert read_node_pools(path)["gpu-l4"].gpus_per_node == 4
    path.write_text(yaml.safe_dump({"gpu-l4": {"gpuPerNode": 4}}))
    with pytest.raises(InvalidInput, match=r"gpu-l4\.gpuPerNode"):
        read_node_pools(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_node_pools(tmp_path / "absent.yaml")
