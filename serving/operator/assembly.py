"""The controller's parts on a cluster: the only file of the operator that knows which adapters there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving.controller.engine_keeper import EngineKeeper
from serving.controller.loop import LEASE, Controller
from serving.controller.parts import Parts, alias_recorder
from serving.controller.registry_watch import RegistryWatch
from serving.operator.actions import KubeActions
from serving.operator.announcer import KubeAnnouncer
from serving.operator.deadline import Deadline
from serving.operator.engines import RayServiceEngines
from serving.operator.fleet import KubeFleet
from serving.operator.household import KubeHousehold
from serving.operator.metrics import Metrics
from serving.operator.objects import Objects
from serving.operator.rayservice import EngineSite
from serving.operator.records import KubeRecords
from serving.operator.resources import KubeResources
from serving.operator.rollouts import KubeRollouts
from serving.operator.routing import KubeRouting
from tidegate import attestation
from tidegate.adapters.kube.api import KubeApi
from tidegate.adapters.kube.election import LeaseElection
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.clock import Clock, SystemClock
from tidegate.db import Database
from tidegate.domain.node_pools import read_node_pools
from tidegate.errors import Unavailable
from tidegate.ids import new_id
from tidegate.ledger import Ledger
from tidegate.logging import get_logger
from tidegate.ports import Engines, Registry
from tidegate.settings import Settings
from tidegate.store.evidence import EvidenceStore
from tidegate.store.leases import LeaseStore

_log = get_logger(__name__)
_DATABASE_SECONDS = 6.0
"""How long the judging thread waits for the database: less than a lease lasts."""
_PATIENCE_SECONDS = 2.0
"""How long the registry watch tries one call; the next poll tries again anyway."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A controller on a cluster, and what the process around it feeds and shows."""

    controller: Controller
    objects: Objects
    metrics: Metrics


def assemble(
    settings: Settings,
    *,
    api: KubeApi | None = None,
    registry: Registry | None = None,
    engines: Engines | None = None,
    clock: Clock | None = None,
) -> Operator:
    """The operator of this process.

    Args:
        api: the API server; None finds it as `KubeApi.connect` does.
        registry: None is MLflow's.
        engines: None are RayServices.

    Raises:
        TidegateError: a setting, the node pools or the kubeconfig cannot be used, or the ledger does not answer.
    """
    clock = clock or SystemClock()
    cluster = settings.cluster
    api = api or KubeApi.connect(cluster.namespace, seconds=cluster.request_timeout)
    holder = f"operator-{new_id().lower()}"
    api.call_as(holder)
    election = LeaseElection(api, clock)
    objects = Objects(api, election.check)
    metrics = Metrics()
    db = _open(settings.database_url)
    ledger = Ledger(db, clock)
    resources, routing, actions = KubeResources(objects), KubeRouting(objects, clock), KubeActions(objects, clock)
    by = Deadline(_DATABASE_SECONDS, "the ledger's database")
    records = KubeRecords(resources, KubeRollouts(objects), routing, actions, ledger, by)
    key = attestation.load_key(settings.attestation_key_path)
    parts = Parts(
        db=db,
        clock=clock,
        intervals=settings.intervals,
        resources=resources,
        routing=routing,
        actions=actions,
        election=election,
        records=records,
        announcer=KubeAnnouncer(objects, clock, metrics, holder),
        household=KubeHousehold(objects, routing, actions, records, metrics, clock, cluster.resync_seconds, election),
        fleet=KubeFleet(objects, cluster),
        status_seconds=settings.intervals.status_write,
        by=by,
        evidence=EvidenceStore(db, clock),
        leases=LeaseStore(db, clock),
        registry=RegistryWatch(
            registry or MlflowRegistry(settings.mlflow_uri, cache=settings.cache, patience=_PATIENCE_SECONDS),
            alias_recorder(ledger),
            lambda: election.held(LEASE) is not None,
        ),
        engines=EngineKeeper(engines or _engines(settings, objects, election, clock), always=True),
        keys={attestation.key_id_of(key): key},
    )
    return Operator(Controller(parts, holder), objects, metrics)


def _open(url: str) -> Database:
    """The ledger's database, also while it is away: aborts and rollbacks do not wait for it."""
    try:
        return Database.open(url)
    except Unavailable as error:
        _log.warning("starting without the ledger", problem=error.problem)
        return Database.open(url, migrate=False)


def _engines(settings: Settings, objects: Objects, election: LeaseElection, clock: Clock) -> Engines:
    cluster = settings.cluster
    pools = read_node_pools(cluster.node_pools_path) if cluster.node_pools_path is not None else {}
    token: Path | None = settings.ray_token_path if settings.ray_token_path.exists() else None
    return RayServiceEngines(
        objects, EngineSite(cluster, pools), token, settings.home, lambda: election.held(LEASE), clock
    )
