"""The routing in force, for processes that only read it: from the database, on a cluster from the API server."""

from __future__ import annotations

from typing import Protocol

from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.domain.routing import RoutingTable
from tidegate.settings import Settings
from tidegate.store.routing import RoutingStore


class RoutingTables(Protocol):
    """Tables by deployment."""

    def get(self, deployment: str) -> RoutingTable | None:
        """The table in force; None for a deployment that serves nothing.

        Raises:
            Unavailable: database or API server does not answer.
        """


def routing_tables(settings: Settings, db: Database, clock: Clock) -> RoutingTables:
    """Where this profile keeps them."""
    if settings.profile != "cluster":
        return RoutingStore(db, clock)
    from tidegate.adapters.kube.api import KubeApi  # noqa: PLC0415 - the client, on a cluster only
    from tidegate.adapters.kube.routing_tables import KubeRoutingTables  # noqa: PLC0415

    cluster = settings.cluster
    return KubeRoutingTables(KubeApi.connect(cluster.namespace, seconds=cluster.request_timeout), clock)
