"""Kinds of objects as an API server addresses them, and what all objects have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from tidegate.domain.kinds import CLUSTER_KINDS
from tidegate.domain.resource_base import API_VERSION
from tidegate.errors import InvalidInput

Object = dict[str, Any]
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ApiKind:
    """Where objects of a kind live."""

    kind: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", sub: str = "") -> str:
        root = f"/api/{self.version}" if "/" not in self.version else f"/apis/{self.version}"
        if not _NAME.fullmatch(namespace):
            step = "Name one: lower-case letters, digits and dashes."
            raise InvalidInput(f"{namespace!r} is no namespace's name", next_step=step)
        return "/".join(part for part in (f"{root}/namespaces/{namespace}/{self.plural}", name, sub) if part)

    def object_path(self, namespace: str, name: str, sub: str = "") -> str:
        """Of one object. An empty or odd name would be the whole collection, or another object."""
        if not _NAME.fullmatch(name):
            step = "Name one: lower-case letters, digits, dashes and dots."
            raise InvalidInput(f"{name!r} is no {self.kind}'s name", next_step=step)
        return self.path(namespace, name, sub)


LEASE = ApiKind("Lease", "coordination.k8s.io/v1", "leases")
EVENT = ApiKind("Event", "events.k8s.io/v1", "events")
SERVICE = ApiKind("Service", "v1", "services")
DISRUPTION_BUDGET = ApiKind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets")
CONTROLLER_REVISION = ApiKind("ControllerRevision", "apps/v1", "controllerrevisions")
RAY_SERVICE = ApiKind("RayService", "ray.io/v1", "rayservices")
OWN: Final[dict[str, ApiKind]] = {name: ApiKind(name, API_VERSION, kind.plural) for name, kind in CLUSTER_KINDS.items()}


def annotations_of(body: Object) -> dict[str, str]:
    """Empty where the object has none: the server leaves the field out."""
    found: dict[str, str] = body["metadata"].get("annotations") or {}
    return found
