"""Routing as ModelRouting objects, and the gateways' acknowledgements as their Leases: the `Routing` port."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

from serving.operator.objects import MANAGED, Objects
from tidegate.adapters.kube.gateways import EPOCHS, GATEWAY_SELECTOR
from tidegate.adapters.kube.kinds import LEASE, OWN, Object, annotations_of
from tidegate.clock import Clock
from tidegate.domain.routing import RoutingTable
from tidegate.domain.routing_resource import ModelRoutingSpec, removed_spec, routing_spec, routing_table
from tidegate.errors import Conflict
from tidegate.kube_codec import from_kube, to_kube
from tidegate.ledger import fact_id
from tidegate.store.leases import Fence

_KIND = OWN["ModelRouting"]
REASON, DECISION = "tidegate.dev/reason", "tidegate.dev/decision"
_GONE_SECONDS = 3600.0
_ACKS_KEPT_SECONDS = 0.4
"""Several deployments of one round ask for the same Leases."""


@dataclass(slots=True)
class _Heard:
    version: str
    at: float


class KubeRouting:
    """A table's epoch only grows: the API server refuses a lower one by the definition's own rule."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] = {}
        self._leases: tuple[float, list[Object]] | None = None

    def get(self, deployment: str) -> RoutingTable | None:
        spec = self.spec(deployment)
        return routing_table(spec) if spec is not None else None

    def last_epoch(self, deployment: str) -> int:
        spec = self.spec(deployment)
        return spec.epoch if spec is not None else 0

    def spec(self, deployment: str) -> ModelRoutingSpec | None:
        """Also of a routing that was removed."""
        body = self._objects.get(_KIND, deployment)
        return from_kube(ModelRoutingSpec, body["spec"]) if body is not None else None

    def said(self, deployment: str) -> tuple[str | None, str | None]:
        """Why the table in force was published, and the id of the decision behind it."""
        body = self._objects.get(_KIND, deployment) or {"metadata": {}}
        notes = annotations_of(body)
        return notes.get(REASON), notes.get(DECISION)

    def publish(
        self, table: RoutingTable, *, reason: str | None = None, decision: str | None = None, fence: Fence | None = None
    ) -> None:
        """Puts a table in force.

        Raises:
            Conflict: an equal or higher epoch is in force, or the lease went to another.
        """
        held = self.last_epoch(table.deployment)
        if table.epoch <= held:
            raise Conflict(
                f"routing of {table.deployment!r} is at epoch {held}, epoch {table.epoch} comes too late",
                next_step="Read the table in force and decide anew.",
            )
        notes = {name: text for name, text in ((REASON, reason), (DECISION, decision)) if text is not None}
        self._write(table.deployment, routing_spec(table, _epoch(fence)), notes, fence)

    def remove(self, deployment: str, *, fence: Fence | None = None) -> None:
        """Takes a deleted deployment out of service. What remains keeps the epoch, which a later table must exceed."""
        spec = self.spec(deployment)
        if spec is None or spec.removed:
            return
        gone = removed_spec(spec, spec.epoch + 1, _epoch(fence), self._clock.now())
        self._write(deployment, gone, {REASON: "The deployment was deleted."}, fence)

    def removal_id(self, deployment: str) -> str:
        """The id of the fact that the deployment's routing was removed, each time it is."""
        return fact_id("routing.removed", deployment, [self.last_epoch(deployment), self._objects.api.namespace])

    def acks(self, deployment: str, fresh_seconds: float = 10.0) -> dict[str, int]:
        """Epoch by gateway, of the gateways that were heard of lately.

        Heard of means that its Lease was *seen* to change within `fresh_seconds` of this process's clock: gateways'
        clocks need not agree with it.
        """
        now, found = self._clock.monotonic(), {}
        with self._lock:
            if self._leases is None or now - self._leases[0] > _ACKS_KEPT_SECONDS:
                listed, _ = self._objects.api.list(LEASE, labels=GATEWAY_SELECTOR)
                self._leases = (now, listed)
                self._hear(listed, now)
            for lease in self._leases[1]:
                name = lease["metadata"]["name"]
                epochs = _epochs(lease)
                if deployment in epochs and now - self._heard[name].at <= fresh_seconds:
                    found[name] = int(epochs[deployment])
        return found

    def prune(self, fence: Fence) -> None:
        """Forgets gateways that were killed: their Leases would stay for good."""
        with self._lock:
            now = self._clock.monotonic()
            gone = [name for name, heard in self._heard.items() if now - heard.at > _GONE_SECONDS]
        for name in gone:
            self._objects.delete(LEASE, name, fence)

    def _hear(self, leases: list[Object], now: float) -> None:
        before, self._heard = self._heard, {}
        for lease in leases:
            name, version = lease["metadata"]["name"], lease["metadata"]["resourceVersion"]
            known = before.get(name)
            self._heard[name] = known if known is not None and known.version == version else _Heard(version, now)

    def _write(self, name: str, spec: ModelRoutingSpec, notes: dict[str, str], fence: Fence | None) -> None:
        body = self._objects.get(_KIND, name)
        made: Any = to_kube(spec)
        if body is None:
            metadata = {"name": name, "labels": dict(MANAGED), "annotations": notes}
            self._objects.create(_KIND, {"metadata": metadata, "spec": made}, fence)
            return
        metadata = {**body["metadata"], "annotations": {**annotations_of(body), **notes}}
        self._objects.replace(_KIND, {**body, "metadata": metadata, "spec": made}, fence)


def _epochs(lease: Object) -> dict[str, Any]:
    """What a gateway says; one that says nothing understandable says nothing."""
    try:
        found = json.loads(annotations_of(lease).get(EPOCHS, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _epoch(fence: Fence | None) -> int:
    return fence.epoch if fence is not None else 0
