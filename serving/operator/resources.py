"""ModelRuntimes and ModelDeployments of the API server, as the controller's `Resources` port."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from serving.operator.objects import Objects
from serving.operator.statuses import decode, encode
from tidegate.adapters.kube.kinds import OWN, Object
from tidegate.domain.kinds import CLUSTER_KINDS
from tidegate.domain.resources import AnyResource, ModelDeployment, ModelRuntime
from tidegate.errors import Conflict
from tidegate.kube_codec import from_kube
from tidegate.logging import get_logger
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)
FINALIZER = "tidegate.dev/routing"
"""Holds a deleted object until its routing is out of force, or its engine is gone."""


class KubeResources:
    """Reads from what the watches keep current."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._written: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        self._read: dict[tuple[str, str], tuple[str, StoredResource | None]] = {}

    def list(self, kind: str) -> list[StoredResource]:
        """All that can be read. One that this release does not understand stays as it is, and the log says so once."""
        found = (self._stored(kind, body) for body in self._objects.all(OWN[kind]))
        return [stored for stored in found if stored is not None]

    def get(self, kind: str, name: str) -> StoredResource | None:
        body = self._objects.get(OWN[kind], name)
        return None if body is None else self._stored(kind, body)

    def unread(self) -> set[str]:
        """Runtimes of deployments that this release cannot read: what they hold must stay."""
        named = set()
        for body in self._objects.all(OWN["ModelDeployment"]):
            if self._stored("ModelDeployment", body) is None:
                named.add(str(((body.get("spec") or {}).get("runtimeRef") or {}).get("name")))
        return named

    def adopt(self, stored: StoredResource, fence: Fence) -> bool:
        """Puts the finalizer on an object that has none; True when that changed it."""
        kind = stored.resource.kind
        body = self._objects.get(OWN[kind], stored.name)
        if body is None or stored.deleted or FINALIZER in body["metadata"].get("finalizers", ()):
            return False
        finalizers = [*body["metadata"].get("finalizers", ()), FINALIZER]
        self._objects.replace(OWN[kind], {**body, "metadata": {**body["metadata"], "finalizers": finalizers}}, fence)
        return True

    def purge(self, kind: str, name: str, *, fence: Fence | None = None) -> None:
        """Lets the API server remove an object that was deleted and is torn down."""
        body = self._objects.get(OWN[kind], name)
        if body is None or "deletionTimestamp" not in body["metadata"]:
            return
        finalizers = [item for item in body["metadata"].get("finalizers", ()) if item != FINALIZER]
        if len(finalizers) == len(body["metadata"].get("finalizers", ())):
            return  # somebody else's finalizer holds it
        self._objects.replace(OWN[kind], {**body, "metadata": {**body["metadata"], "finalizers": finalizers}}, fence)
        self._objects.seen(kind, "DELETED", body)

    def write_status(self, stored: StoredResource, status: dict[str, Any], fence: Fence) -> None:
        """Replaces the status on the version that was read.

        Raises:
            Conflict: the object changed meanwhile, or the lease has run out.
        """
        kind, name = stored.resource.kind, stored.name
        body = self._objects.get(OWN[kind], name)
        if body is None:
            raise Conflict(f"{kind} {name} is gone", next_step="It was deleted meanwhile.")
        if int(body["metadata"]["resourceVersion"]) != stored.resource_version:
            raise Conflict(f"{kind} {name} changed meanwhile", next_step="Decide anew.")
        made = encode(kind, status, fence.epoch)
        if kind == "ModelDeployment" and "phase" not in status:  # only conditions are known here: the rest stays
            made = {**(body.get("status") or {}), "conditions": made["conditions"], "leaderEpoch": fence.epoch}
        written = self._objects.replace(OWN[kind], {**body, "status": made}, fence, status=True)
        self._written[kind, name] = (written["metadata"]["resourceVersion"], status)

    def _stored(self, kind: str, body: Object) -> StoredResource | None:
        """Read once for each version of the object: rounds ask for it twice a second."""
        key, version = (kind, body["metadata"]["name"]), body["metadata"]["resourceVersion"]
        known = self._read.get(key)
        if known is None or known[0] != version:
            known = self._read[key] = (version, self._parsed(kind, body))
        return known[1]

    def _parsed(self, kind: str, body: Object) -> StoredResource | None:
        metadata = body["metadata"]
        try:
            resource: Any = from_kube(CLUSTER_KINDS[kind].model, body)
            version, status = self._written.get((kind, metadata["name"]), ("", {}))
            if version != metadata["resourceVersion"]:
                status = decode(kind, body.get("status") or {})
        except (ValidationError, TypeError, ValueError) as error:
            _log.error("object is not understood and left alone", kind=kind, name=metadata["name"], problem=str(error))
            return None
        made: AnyResource = resource
        assert isinstance(made, ModelRuntime | ModelDeployment)
        return StoredResource(
            resource=made,
            generation=int(metadata.get("generation", 1)),
            resource_version=int(metadata["resourceVersion"]),
            status=status,
            deleted="deletionTimestamp" in metadata,
        )
