"""ModelRouting objects as routing tables, for processes that only read them."""

from __future__ import annotations

import threading

from tidegate.adapters.kube.api import KubeApi
from tidegate.adapters.kube.kinds import OWN
from tidegate.clock import Clock
from tidegate.domain.routing import RoutingTable
from tidegate.domain.routing_resource import ModelRoutingSpec, routing_table
from tidegate.kube_codec import from_kube

_KEPT_SECONDS = 1.0
"""Hundreds of pairs of a batch ask for the same table."""


class KubeRoutingTables:
    """The `RoutingTables` of a cluster. Thread-safe."""

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.Lock()
        self._read: dict[str, tuple[float, RoutingTable | None]] = {}

    def get(self, deployment: str) -> RoutingTable | None:
        with self._lock:
            now = self._clock.monotonic()
            known = self._read.get(deployment)
            if known is None or now - known[0] > _KEPT_SECONDS:
                body = self._api.get(OWN["ModelRouting"], deployment)
                table = routing_table(from_kube(ModelRoutingSpec, body["spec"])) if body is not None else None
                known = self._read[deployment] = (now, table)
            return known[1]
