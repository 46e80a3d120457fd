"""Node pools: where engines and training run, by name. The platform team's file; manifests only name a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from tidegate.domain.resource_base import Resource, Text, Whole
from tidegate.errors import InvalidInput

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
"""A Kubernetes quantity: 500m, 4, 16Gi."""
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
"""Of a pod or an object that makes pods: the Kueue LocalQueue that it waits in."""


class Toleration(Resource):
    """As in a pod's spec."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class NodePool(Resource):
    """One kind of node."""

    node_selector: dict[str, str] = Field(default={}, description="labels of its nodes")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="taints of its nodes that pods tolerate")
    gpu_resource: Text = Field(default="nvidia.com/gpu", description="extended resource that a GPU is asked for by")
    gpus_per_node: Whole = Field(default=0, ge=0, le=64, description="0: nodes without GPUs")
    cpu: Quantity = Field(default="4", description="CPUs of a worker pod")
    memory: Quantity = Field(default="16Gi", description="memory of a worker pod, request and limit alike")
    shared_memory: Quantity = Field(default="2Gi", description="shared memory of a worker pod, for Ray's objects")
    topology_key: str | None = Field(
        default="topology.kubernetes.io/zone", description="replicas are spread over it; unset: they are not"
    )
    priority_class_name: str | None = Field(default=None, description="PriorityClass of the pods")
    kueue_queue: Text | None = Field(default=None, description="Kueue LocalQueue that training jobs wait in")
    volumes: tuple[dict[str, Any], ...] = Field(
        default=(), description="volumes of every Ray pod of an engine or job on this pool, the head's too"
    )
    volume_mounts: tuple[dict[str, Any], ...] = Field(default=(), description="where they are mounted")
    env: dict[str, str] = Field(default={}, description="variables of the same pods, such as NCCL_SOCKET_IFNAME")
    price_per_hour: Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$")] | None = Field(
        default=None, description="of a node, for cost figures"
    )


_POOLS = TypeAdapter(dict[str, NodePool])


def read_node_pools(path: Path) -> dict[str, NodePool]:
    """The pools of a YAML file: name → pool.

    Raises:
        InvalidInput: the file cannot be read, or a pool in it is wrong.
    """
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _POOLS.validate_python(found or {})
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInput(f"node pools {path} cannot be read: {error}", next_step="Correct the file.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"node pools {path}: {where}: {first['msg']}", next_step="Correct the field.") from None
