"""The kinds of `tidegate.dev/v1alpha1` on a cluster: their models and their names in addresses.

Objects are read without their status (`from_kube(kind.model, body)`) and the status by itself
(`from_kube(kind.status, body.get("status", {}))`): whoever writes one never writes the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.domain.resource_base import Resource
from tidegate.domain.resource_status import ModelDeploymentStatus, ModelRuntimeStatus
from tidegate.domain.resources import ModelDeployment, ModelRuntime
from tidegate.domain.rollout_resources import ModelRollout, ModelRolloutStatus, RolloutAction, RolloutActionStatus
from tidegate.domain.routing_resource import ModelRouting

VERSION: Final = "v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind: `status` is None where there is no status subresource."""

    model: type[Resource]
    status: type[Resource] | None
    plural: str
    short: str

    @property
    def name(self) -> str:
        return self.model.__name__


CLUSTER_KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(model=ModelRuntime, status=ModelRuntimeStatus, plural="modelruntimes", short="mrt"),
        Kind(model=ModelDeployment, status=ModelDeploymentStatus, plural="modeldeployments", short="mdep"),
        Kind(model=ModelRollout, status=ModelRolloutStatus, plural="modelrollouts", short="mro"),
        Kind(model=RolloutAction, status=RolloutActionStatus, plural="rolloutactions", short="ract"),
        Kind(model=ModelRouting, status=None, plural="modelroutings", short="mrg"),
    )
}
