"""Builds a gateway's parts from the settings: the only file of the gateway that knows which adapters there are."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from serving.gateway.batching import BatchWriter, T
from serving.gateway.drain import Drain
from serving.gateway.features import FeatureLookup
from serving.gateway.identity import Pseudonyms
from serving.gateway.metrics import Metrics
from serving.gateway.mirror import Mirroring
from serving.gateway.parts import Parts
from serving.gateway.recorder import Recorder
from serving.gateway.routing_watch import RoutingSource, RoutingWatch
from serving.gateway.stores import Stores
from serving.gateway.upstream import EngineClient
from serving.gateway.windows import ArmCounter
from tidegate import inference_log
from tidegate.api_keys import ApiKeys
from tidegate.clock import Clock, SystemClock
from tidegate.domain.evidence import ArmAnswer, ArmWindow, Pair
from tidegate.ids import new_id
from tidegate.inference_log import LogRow
from tidegate.logging import get_logger
from tidegate.ports import OnlineFeatures
from tidegate.redaction import redact
from tidegate.settings import Settings

_log = get_logger(__name__)
_MAX_PAIRS_WAITING = 10_000
_MAX_WINDOWS_WAITING = 10_000
_EVIDENCE_FLUSH_SECONDS = 0.25
_EVIDENCE_FLUSH_ITEMS = 64
_EXTRA_CONNECTIONS = 16  # to engines, for mirrors and probes beside the requests in flight


def assemble(settings: Settings, *, online: OnlineFeatures | None, clock: Clock | None = None) -> Parts:
    """The parts of one gateway process.

    Args:
        online: the online feature store; None renders every feature as unknown.

    Raises:
        TidegateError: the key file, the user key or the database's URL cannot be used. That the database is away is no
            error.
    """
    clock = clock or SystemClock()
    metrics = Metrics()
    stores = Stores(settings.database_url, clock)
    stores.try_open()
    features = FeatureLookup(online, clock=clock, metrics=metrics)
    gateway = gateway_id()
    connections = settings.limits.max_concurrency + _EXTRA_CONNECTIONS
    engine = EngineClient(max_connections=connections, monotonic=clock.monotonic)
    pairs = _evidence_writer("pairs", partial(_store_pairs, stores), metrics, _MAX_PAIRS_WAITING)
    windows = _evidence_writer("windows", partial(_store_windows, stores), metrics, _MAX_WINDOWS_WAITING)
    log = _log_writer(settings, metrics)
    mirroring = Mirroring(
        engine,
        pairs,
        max_in_flight=settings.limits.max_concurrency,
        timeout_seconds=settings.limits.timeout_seconds,
        clock=clock,
        metrics=metrics,
    )
    counter = ArmCounter(gateway, clock)
    watch = RoutingWatch(
        _routing_source(settings, stores, clock),
        prepare=features.prepare,
        gateway=gateway,
        path=settings.home / "gateway" / "routing.json",
        poll_seconds=settings.intervals.routing_poll,
        ack_seconds=settings.intervals.ack_fresh / 4,
        clock=clock,
        metrics=metrics,
    )
    watch.load()
    return Parts(
        authenticate=ApiKeys.load(settings.api_keys_path).authenticate,
        limits=settings.limits,
        watch=watch,
        features=features,
        engine=engine,
        mirroring=mirroring,
        recorder=Recorder(counter, mirroring, log, clock=clock, metrics=metrics),
        counter=counter,
        evidence=stores.evidence,
        log=log,
        pairs=pairs,
        windows=windows,
        pseudonyms=Pseudonyms.load_or_create(settings.secrets / "user-pseudonym.key"),
        drain=Drain(settings.limits.drain_seconds),
        clock=clock,
        metrics=metrics,
    )


def _routing_source(settings: Settings, stores: Stores, clock: Clock) -> Callable[[], RoutingSource]:
    if settings.profile == "local":
        return stores.routing
    from serving.gateway.kube_routing import KubeRoutingSource  # noqa: PLC0415 - the client, on a cluster only
    from tidegate.adapters.kube.api import KubeApi  # noqa: PLC0415

    cluster = settings.cluster
    api = KubeApi.connect(cluster.namespace, seconds=cluster.request_timeout)
    source = KubeRoutingSource(api, clock, settings.intervals.ack_fresh)
    source.start()
    return lambda: source


def gateway_id() -> str:
    """New with every process: counts of a block are kept per gateway, and a restart must not replace them. In a pod it
    begins with the pod's name, by which the chart's admission policy knows whose Lease it is."""
    host = os.environ.get("POD_NAME") or socket.gethostname()
    return f"{host}-{os.getpid()}-{new_id()[-8:].lower()}"


def redacted_row(row: LogRow) -> LogRow:
    answer = None if row.answer is None else redact(row.answer)[0]
    return replace(row, text=redact(row.text)[0], answer=answer, customer=redact(row.customer)[0])


def redacted_pair(pair: Pair) -> Pair:
    return pair.model_copy(
        update={
            "text": redact(pair.text)[0],
            "stable": _redacted_answer(pair.stable),
            "candidate": _redacted_answer(pair.candidate),
        }
    )


def latest(windows: list[ArmWindow]) -> list[ArmWindow]:
    """Of several counts of one block, the last: it contains the others."""
    keyed = {
        (w.deployment, w.rollout, w.step, w.role, w.version, w.epoch, w.gateway, w.block_start): w for w in windows
    }
    return list(keyed.values())


def _redacted_answer(answer: ArmAnswer) -> ArmAnswer:
    return answer if answer.text is None else answer.model_copy(update={"text": redact(answer.text)[0]})


def _store_pairs(stores: Stores, batch: list[Pair]) -> None:
    stores.evidence().add_pairs([redacted_pair(pair) for pair in batch])


def _store_windows(stores: Stores, batch: list[ArmWindow]) -> None:
    stores.evidence().add_windows(latest(batch))


def _log_writer(settings: Settings, metrics: Metrics) -> BatchWriter[LogRow]:
    log = settings.inference_log

    def write(batch: list[LogRow]) -> None:
        inference_log.write_rows(log.uri, [redacted_row(row) for row in batch])

    return BatchWriter(
        "log",
        write,
        capacity=log.max_buffer_rows,
        flush_items=log.flush_rows,
        flush_seconds=log.flush_seconds,
        on_drop=metrics.dropped.labels("log").inc,
        prepare=inference_log.warm,
    )


def _evidence_writer(name: str, sink: Callable[[list[T]], None], metrics: Metrics, capacity: int) -> BatchWriter[T]:
    return BatchWriter(
        name,
        sink,
        capacity=capacity,
        flush_items=_EVIDENCE_FLUSH_ITEMS,
        flush_seconds=_EVIDENCE_FLUSH_SECONDS,
        on_drop=metrics.dropped.labels(name).inc,
    )
