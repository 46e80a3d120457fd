"""A ModelRuntime as a RayService (KubeRay v1.6 and v1.7) and the Service before it. Rendering is pure.

The Service is ours: KubeRay's own `-serve-svc` loses its endpoints while a cluster is replaced, and routing must not
depend on that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from serving.engines.catalog import render as render_application
from serving.operator.objects import MANAGED
from tidegate.adapters.kube.ray_pods import CONTAINER_SECURITY, env_from, on_nodes, ray_pod, resources
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import NodePool
from tidegate.domain.resources import ModelRuntimeSpec
from tidegate.errors import InvalidInput
from tidegate.ports import AdapterSlot

Json = dict[str, Any]
RUNTIME = "tidegate.dev/runtime"
SERVE_PORT = 8000
_LONGEST_NAME = 47
"""KubeRay's MaxRayServiceNameLength: it adds a suffix for the cluster, and pods add theirs."""
_HEAD_SHARED_MEMORY = "1Gi"
_OLD_CLUSTER_SECONDS = 600
"""How long a cluster that KubeRay has replaced is left: the Service before it follows within seconds, or, when this
operator is away, when it is back."""
_DNS_1035 = re.compile(r"^[a-z]")


@dataclass(frozen=True, slots=True)
class EngineSite:
    """What the platform adds to a manifest."""

    settings: ClusterSettings
    pools: Mapping[str, NodePool]


def rayservice(runtime: str, manifest: Mapping[str, Any], adapters: Sequence[AdapterSlot], site: EngineSite) -> Json:
    """The RayService of a runtime, without what the API server adds.

    Raises:
        InvalidInput: no such node pool, no image, or the engine catalog refuses the spec.
    """
    if not _DNS_1035.match(runtime):
        raise InvalidInput(
            f"the engine's name {runtime!r} does not begin with a letter, as KubeRay and Services want it",
            next_step="Give the ModelRuntime another name.",
        )
    if len(runtime) > _LONGEST_NAME:
        raise InvalidInput(
            f"the engine's name {runtime!r} has {len(runtime)} characters; KubeRay takes {_LONGEST_NAME}",
            next_step="Give the ModelRuntime a shorter name.",
        )
    spec = ModelRuntimeSpec.model_validate(manifest)
    pool = _pool(runtime, spec, site)
    application = render_application(runtime, manifest, adapters)
    serve = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": SERVE_PORT},  # noqa: S104 - inside the pod; a NetworkPolicy guards it
        "applications": [application],
    }
    return {
        "metadata": {"name": runtime, "labels": {**MANAGED, RUNTIME: runtime}},
        "spec": {
            "serveConfigV2": yaml.safe_dump(serve, sort_keys=True),
            "rayClusterDeletionDelaySeconds": _OLD_CLUSTER_SECONDS,
            "rayClusterConfig": _cluster(runtime, spec, pool, site),
        },
    }


def service(runtime: str, cluster: str) -> Json:
    """The Service that gateways ask: the Serve proxies of one Ray cluster."""
    return {
        "metadata": {"name": service_name(runtime), "labels": {**MANAGED, RUNTIME: runtime}},
        "spec": {
            "type": "ClusterIP",
            "selector": {"ray.io/cluster": cluster, "ray.io/serve": "true"},
            "ports": [{"name": "http", "port": SERVE_PORT, "targetPort": SERVE_PORT, "protocol": "TCP"}],
        },
    }


def service_name(runtime: str) -> str:
    return f"{runtime}-engine"


def serve_config(body: Mapping[str, Any]) -> Json:
    """The `serveConfigV2` of a RayService as data."""
    found: Json = yaml.safe_load(body["spec"]["serveConfigV2"])
    return found


def least_replicas(body: Mapping[str, Any]) -> int:
    """Workers that a RayService always has, which is how many replicas its runtime always has; 0 where it does not say.

    What somebody changed by hand is put right by the next declaration, which must not fail on it.
    """
    groups = (body["spec"].get("rayClusterConfig") or {}).get("workerGroupSpecs") or ()
    return sum(int(group.get("minReplicas") or 0) for group in groups)


def _pool(runtime: str, spec: ModelRuntimeSpec, site: EngineSite) -> NodePool:
    name = spec.placement.node_pool
    pool = _known(runtime, name, site, "spec.placement.nodePool")
    if spec.placement.gpus_per_replica > pool.gpus_per_node:
        raise InvalidInput(
            f"ModelRuntime {runtime!r} wants {spec.placement.gpus_per_replica} GPUs per replica; "
            f"a node of pool {name!r} has {pool.gpus_per_node}",
            next_step="Lower spec.placement.gpusPerReplica, or name another pool.",
        )
    return pool


def _known(runtime: str, name: str, site: EngineSite, said_by: str) -> NodePool:
    if name not in site.pools:
        known = ", ".join(sorted(site.pools)) or "none"
        raise InvalidInput(
            f"ModelRuntime {runtime!r}: node pool {name!r} does not exist",
            next_step=f"Set {said_by} to one of: {known}.",
        )
    return site.pools[name]


def _head(runtime: str, image: str, pool: NodePool, site: EngineSite) -> Json:
    """Its volumes are those of the workers' pool, since what Serve imports it imports there, too; its nodes are not: it
    needs no GPU, and an engine without Redis ends with its head."""
    settings, name = site.settings, site.settings.head_node_pool
    made = _pod(runtime, "head", image, resources(settings.head_cpu, settings.head_memory), settings, pool=pool)
    if name:
        made["spec"] |= on_nodes(_known(runtime, name, site, "TIDEGATE_CLUSTER__HEAD_NODE_POOL"), {})
    return made


def _worker(runtime: str, image: str, pool: NodePool, gpus: int, settings: ClusterSettings) -> Json:
    wanted = resources(pool.cpu, pool.memory, pool.gpu_resource, gpus)
    made = _pod(runtime, "worker", image, wanted, settings, pool=pool, shared_memory=pool.shared_memory)
    made["spec"] |= on_nodes(pool, {RUNTIME: runtime})
    return made


def _cluster(runtime: str, spec: ModelRuntimeSpec, pool: NodePool, site: EngineSite) -> Json:
    settings, placement = site.settings, spec.placement
    image = spec.image or settings.engine_image
    if not image:
        raise InvalidInput(
            f"ModelRuntime {runtime!r} names no image, and the platform has no default",
            next_step="Set spec.image, or TIDEGATE_CLUSTER__ENGINE_IMAGE of the operator.",
        )
    made: Json = {
        "rayVersion": spec.ray_version or settings.ray_version,
        "enableInTreeAutoscaling": placement.max_replicas > placement.min_replicas,
        "headGroupSpec": {
            # The head plans and keeps the state; no replica of a model runs on it.
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
            "template": _head(runtime, image, pool, site),
        },
        "workerGroupSpecs": [
            {
                "groupName": "engine",
                "replicas": placement.min_replicas,
                "minReplicas": placement.min_replicas,
                "maxReplicas": placement.max_replicas,
                "rayStartParams": {},
                "template": _worker(runtime, image, pool, placement.gpus_per_replica, settings),
            }
        ],
    }
    if made["enableInTreeAutoscaling"]:
        made["autoscalerOptions"] = {"securityContext": CONTAINER_SECURITY}
        # The autoscaler runs beside the head and asks the API server for workers, as KubeRay's own service account.
        made["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] = True
    if settings.ray_token_secret:
        made["authOptions"] = {"mode": "token", "secretName": settings.ray_token_secret}
    if settings.redis_address:
        made["gcsFaultToleranceOptions"] = {"redisAddress": settings.redis_address} | (
            {"redisPassword": {"valueFrom": _secret_key(settings.redis_password_secret, "password")}}
            if settings.redis_password_secret
            else {}
        )
    return made


def _pod(
    runtime: str,
    role: str,
    image: str,
    wanted: Json,
    settings: ClusterSettings,
    *,
    pool: NodePool,
    shared_memory: str = _HEAD_SHARED_MEMORY,
) -> Json:
    return ray_pod(
        role,
        image,
        wanted,
        pool,
        labels={**MANAGED, RUNTIME: runtime},
        sources=env_from(settings.engine_env_secret, settings.engine_env_config),
        shared_memory=shared_memory,
        service_account=settings.service_account,
    )


def _secret_key(name: str, key: str) -> Json:
    return {"secretKeyRef": {"name": name, "key": key}}
