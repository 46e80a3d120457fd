"""What a controller works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.controller.engine_keeper import EngineKeeper
from serving.controller.local import LogAnnouncer, NoHousehold, OneEngine, SqlRecords
from serving.controller.ports import Actions, Announcer, Election, Fleet, Household, Records, Resources, Routing
from serving.controller.registry_watch import RegistryWatch
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.plane_settings import Intervals
from tidegate.ports import Engines, Registry
from tidegate.store.actions import ActionStore
from tidegate.store.evidence import EvidenceStore
from tidegate.store.leases import LeaseStore
from tidegate.store.resources import ResourceStore
from tidegate.store.routing import RoutingStore


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports, the evidence in its database, and the watched outside.

    Attributes:
        leases: of the database, where the scorer holds its own.
        status_seconds: a status in which only counts changed is written at most so often (s).
        by: runs what reads the database, and may give it up after a time.
        keys: attestation keys that are accepted, by id.
    """

    db: Database
    clock: Clock
    intervals: Intervals
    resources: Resources
    routing: Routing
    actions: Actions
    election: Election
    records: Records
    announcer: Announcer
    household: Household
    fleet: Fleet
    status_seconds: float
    by: Callable[[Callable[[], Any]], Any]
    evidence: EvidenceStore
    leases: LeaseStore
    registry: RegistryWatch
    engines: EngineKeeper
    keys: Mapping[str, bytes]


def assemble_local(
    db: Database,
    clock: Clock,
    intervals: Intervals,
    registry: Registry,
    engines: Engines,
    keys: Mapping[str, bytes],
) -> Parts:
    """The parts of one machine, over one database.

    Args:
        keys: attestation keys that are accepted, by id.
    """
    resources, actions, leases, ledger = (
        ResourceStore(db, clock),
        ActionStore(db, clock),
        LeaseStore(db, clock),
        Ledger(db, clock),
    )
    return Parts(
        db=db,
        clock=clock,
        intervals=intervals,
        resources=resources,
        routing=RoutingStore(db, clock),
        actions=actions,
        election=leases,
        records=SqlRecords(db, resources, ledger, actions),
        announcer=LogAnnouncer(),
        household=NoHousehold(),
        fleet=OneEngine(),
        status_seconds=0.0,
        by=lambda read: read(),
        evidence=EvidenceStore(db, clock),
        leases=leases,
        registry=RegistryWatch(registry, alias_recorder(ledger)),
        engines=EngineKeeper(engines),
        keys=keys,
    )


def alias_recorder(ledger: Ledger) -> Callable[[str, str, str], None]:
    """Puts every alias that the controller sets on record."""

    def alias_set(model: str, alias: str, version: str) -> None:
        ledger.append("alias.set", model, {"alias": alias, "version": version}, actor="controller")

    return alias_set
