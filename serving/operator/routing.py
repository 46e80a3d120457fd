"""Routing as ModelRouting objects, and the gateways' acknowledgements as their Leases: the `Routing` port."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from serving.operator.objects import MANAGED, Objects
from tidegate.adapters.kube.gateways import EPOCHS, GATEWAY_SELECTOR
from tidegate.adapters.kube.kinds import LEASE, OWN, Object, annotations_of
from tidegate.clock import Clock
from tidegate.domain.routing import RoutingTable
from tidegate.domain.routing_resource import ModelRoutingSpec, removed_spec, routing_spec, routing_table
from tidegate.errors import Conflict, InvalidInput, TidegateError
from tidegate.kube_codec import from_kube, to_kube
from tidegate.ledger import fact_id
from tidegate.logging import get_logger
from tidegate.store.leases import Fence

_KIND = OWN["ModelRouting"]
_log = get_logger(__name__)
REASON, DECISION = "tidegate.dev/reason", "tidegate.dev/decision"
_GONE_SECONDS = 3600.0
_BEHIND = -1
_MOST_SKEW_SECONDS = 120.0
"""Counts are kept by the gateways' clocks. What one counts that is further off might never be read, so that its errors
were overlooked: it is one that lags."""
_ACKS_KEPT_SECONDS = 0.4
"""Several deployments of one round ask for the same Leases."""


@dataclass(slots=True)
class _Heard:
    """When a gateway's Lease was last seen to change, and by how much its clock differs from ours (s)."""

    version: str
    at: float
    skew: float


class KubeRouting:
    """A table's epoch only grows: the API server refuses a lower one by the definition's own rule."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] = {}
        self._leases: tuple[float, list[Object]] | None = None

    def get(self, deployment: str) -> RoutingTable | None:
        try:
            spec = self.spec(deployment)
            return routing_table(spec) if spec is not None else None
        except ValueError as error:  # edited by hand: gateways go on by their last good table
            _log.error("routing is not understood; it is published anew", name=deployment, problem=_first(error))
            return None

    def last_epoch(self, deployment: str) -> int:
        body = self._objects.get(_KIND, deployment)
        return int(body["spec"]["epoch"]) if body is not None else 0

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
        try:
            spec = routing_spec(table, _epoch(fence))
        except ValueError as error:
            raise InvalidInput(
                f"routing of {table.deployment!r} cannot be written: {_first(error)}",
                next_step="A ModelRouting has bounds (docs/resources.md): abort, and register the version within them.",
            ) from None
        self._write(table.deployment, spec, notes, fence)

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
                try:
                    listed, _ = self._objects.api.list(LEASE, labels=GATEWAY_SELECTOR)
                except TidegateError as error:
                    _log.warning("gateways cannot be asked; nothing advances", problem=str(error))
                    return {}
                self._leases = (now, listed)
                self._hear(listed, now)
            for lease in self._leases[1]:
                name = lease["metadata"]["name"]
                epochs = _epochs(lease)
                heard = self._heard[name]
                if deployment in epochs and now - heard.at <= fresh_seconds:
                    found[name] = _whole(epochs[deployment]) if heard.skew <= _MOST_SKEW_SECONDS else _BEHIND
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
            if known is None or known.version != version:
                # What was seen for the first time may be a gateway that died an hour ago.
                known = _Heard(version, now, self._skew(lease) if known is not None else 0.0)
            self._heard[name] = known

    def _skew(self, lease: Object) -> float:
        try:
            said = datetime.fromisoformat(str((lease.get("spec") or {}).get("renewTime")))
            skew = abs((said - self._clock.now()).total_seconds())
        except (ValueError, TypeError):
            return 0.0
        if skew > _MOST_SKEW_SECONDS:
            name = lease["metadata"]["name"]
            _log.error(
                "a gateway's clock is wrong: nothing advances until it is set", gateway=name, seconds=round(skew)
            )
        return skew

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


def _first(error: ValueError) -> str:
    """One line of what may be a page of pydantic's."""
    if isinstance(error, ValidationError):
        item = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
    return str(error)


def _whole(said: Any) -> int:
    """An epoch that nobody understands is none: the gateway is one that lags, and is named."""
    return said if isinstance(said, int) and not isinstance(said, bool) else _BEHIND


def _epoch(fence: Fence | None) -> int:
    return fence.epoch if fence is not None else 0
