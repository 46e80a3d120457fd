"""What a drift check looks at: the version that serves a deployment, and the reference registered with it."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.drift.spec import DriftCheckSpec
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.adapters.routing_tables import routing_tables
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.errors import NotFound
from tidegate.settings import Settings


@dataclass(frozen=True)
class Target:
    """`model` is the registered name, `logical_model` the one that applications call and the log is filed under."""

    model: str
    logical_model: str
    version: str
    reference_uri: str

    @property
    def key(self) -> str:
        return f"{self.model}/{self.version}"


def find_target(spec: DriftCheckSpec, settings: Settings, db: Database, clock: Clock) -> Target:
    """From the routing table and the registry.

    Raises:
        NotFound: the deployment serves nothing, or the registry has no such version.
        Unavailable: the registry does not answer, or what holds the routing.
    """
    table = routing_tables(settings, db, clock).get(spec.deployment)
    stable = table.arm("stable") if table else None
    if table is None or stable is None:
        raise NotFound(
            f"deployment {spec.deployment!r} serves nothing yet",
            next_step="Apply its manifests and send requests: 'tidegate apply -f FILE'.",
        )
    # An arm's adapter id is the version's key, '<registered model>/<version>'.
    model = stable.adapter.rpartition("/")[0]
    version = spec.version or stable.version
    uri = spec.reference_uri
    if uri is None:
        uri = MlflowRegistry(settings.mlflow_uri, cache=settings.cache).get(model, version).reference_uri
    return Target(model=model, logical_model=table.model, version=version, reference_uri=uri)
