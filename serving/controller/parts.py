"""What a controller works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.controller.engine_keeper import EngineKeeper
from serving.controller.registry_watch import RegistryWatch
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.ports import Engines, Registry
from tidegate.settings import Intervals
from tidegate.store.actions import ActionStore
from tidegate.store.evidence import EvidenceStore
from tidegate.store.leases import LeaseStore
from tidegate.store.resources import ResourceStore
from tidegate.store.routing import RoutingStore


@dataclass(frozen=True, slots=True)
class Parts:
    """Stores, and the watched outside."""

    db: Database
    clock: Clock
    intervals: Intervals
    resources: ResourceStore
    routing: RoutingStore
    evidence: EvidenceStore
    actions: ActionStore
    leases: LeaseStore
    ledger: Ledger
    registry: RegistryWatch
    engines: EngineKeeper
    keys: Mapping[str, bytes]


def assemble(
    db: Database,
    clock: Clock,
    intervals: Intervals,
    registry: Registry,
    engines: Engines,
    keys: Mapping[str, bytes],
) -> Parts:
    """The parts over one database.

    Args:
        keys: attestation keys that are accepted, by id.
    """
    ledger = Ledger(db, clock)

    def alias_set(model: str, alias: str, version: str) -> None:
        ledger.append("alias.set", model, {"alias": alias, "version": version}, actor="controller")

    return Parts(
        db=db,
        clock=clock,
        intervals=intervals,
        resources=ResourceStore(db, clock),
        routing=RoutingStore(db, clock),
        evidence=EvidenceStore(db, clock),
        actions=ActionStore(db, clock),
        leases=LeaseStore(db, clock),
        ledger=ledger,
        registry=RegistryWatch(registry, alias_set),
        engines=EngineKeeper(engines),
        keys=keys,
    )
