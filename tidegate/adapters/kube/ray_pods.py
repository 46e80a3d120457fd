"""Pods of Ray clusters, whoever starts them: rendered once, so that engines and training differ in nothing by chance.

Pure. Every pod passes Pod Security "restricted".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.domain.node_pools import NodePool
from tidegate.kube_codec import to_kube

Json = dict[str, Any]
CONTAINER_SECURITY: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
POD_SECURITY: Final[Json] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def resources(cpu: str, memory: str, gpu_resource: str = "", gpus: int = 0) -> Json:
    """Memory and GPUs as limits equal to requests: Ray plans with what it sees at its start."""
    wanted: Json = {"cpu": cpu, "memory": memory} | ({gpu_resource: str(gpus)} if gpus else {})
    return {"requests": wanted, "limits": {name: value for name, value in wanted.items() if name != "cpu"}}


def env_from(secret: str, config: str) -> list[Json]:
    """Environment of a Secret and a ConfigMap; either may be unset."""
    sources: list[Json] = [{"secretRef": {"name": secret}}] if secret else []
    return sources + ([{"configMapRef": {"name": config}}] if config else [])


def ray_pod(  # noqa: PLR0913 - what a pod template is made of
    role: str,
    image: str,
    wanted: Json,
    pool: NodePool,
    *,
    labels: Mapping[str, str],
    sources: Sequence[Json],
    shared_memory: str,
    service_account: str = "",
    variables: Mapping[str, str] | None = None,
) -> Json:
    """The template of a Ray pod.

    Args:
        role: head or worker.
        image: with Ray in it.
        wanted: see `resources`.
        pool: whose volumes are mounted. See `on_nodes` for a pod that belongs on its nodes.
        labels: of the pod.
        sources: see `env_from`.
        shared_memory: for Ray's object store.
        service_account: unset: the namespace's default; its token is never mounted.
        variables: environment; the pool's own wins.
    """
    container: Json = {
        "name": f"ray-{role}",
        "image": image,
        "resources": wanted,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - Ray's session folder
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - Ray's object store
            *pool.volume_mounts,
        ],
    }
    if sources:
        container["envFrom"] = list(sources)
    values = {**(variables or {}), **pool.env}
    if values:
        container["env"] = [{"name": name, "value": value} for name, value in sorted(values.items())]
    spec: Json = {
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
            *pool.volumes,
        ],
    }
    if service_account:
        spec["serviceAccountName"] = service_account
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def on_nodes(pool: NodePool, spread_over: Mapping[str, str]) -> Json:
    """What places a pod on the nodes of a pool.

    Args:
        spread_over: labels of the pods that are spread; empty: nothing is.
    """
    placed: Json = {}
    if pool.node_selector:
        placed["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        placed["tolerations"] = [to_kube(item) for item in pool.tolerations]
    if pool.priority_class_name:
        placed["priorityClassName"] = pool.priority_class_name
    if pool.topology_key and spread_over:
        placed["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": pool.topology_key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(spread_over)},
            }
        ]
    return placed
