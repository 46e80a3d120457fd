"""Keeps the routing in force: polls the store, refuses lower epochs, acknowledges, survives the store's absence.

Requests read `find(model)` once and use that table to their end, so a change of routing never splits a request.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from serving.gateway.metrics import Metrics
from tidegate.clock import Clock
from tidegate.domain.routing import RoutingTable
from tidegate.errors import TidegateError
from tidegate.logging import get_logger

_log = get_logger(__name__)
_TABLES = TypeAdapter(list[RoutingTable])


class RoutingSource(Protocol):
    """Where routing comes from: `tidegate.store.routing.RoutingStore`, or the API server of a cluster."""

    def change_token(self) -> int: ...

    def all(self) -> Sequence[RoutingTable]: ...

    def acknowledge_all(self, gateway: str, epochs: Mapping[str, int]) -> None: ...

    def forget_gateway(self, gateway: str) -> None: ...


class RoutingWatch:
    """The last good routing tables of this gateway.

    Args:
        source: gives the routing store; may raise while the database is away.
        prepare: called with new tables before they are in force, to warm up what their first request needs.
        gateway: this gateway's id, under which it acknowledges epochs.
        path: file with the last good tables, so that a restart without the store still serves.
        poll_seconds: how often the store's change token is looked at (s).
        ack_seconds: an unchanged epoch is acknowledged again so often (s): the store forgets gateways that are silent.
    """

    def __init__(
        self,
        source: Callable[[], RoutingSource],
        *,
        prepare: Callable[[Sequence[RoutingTable]], None],
        gateway: str,
        path: Path,
        poll_seconds: float,
        ack_seconds: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._prepare = prepare
        self._gateway = gateway
        self._path = path
        self._poll_seconds = poll_seconds
        self._ack_seconds = ack_seconds
        self._clock = clock
        self._metrics = metrics
        self._tables: Mapping[str, RoutingTable] = {}
        self._informed = False
        self._token: int | None = None
        self._acked_at: float | None = None
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="routing-watch", daemon=True)

    @property
    def tables(self) -> Mapping[str, RoutingTable]:
        """By logical model name. The mapping is replaced as a whole, never changed."""
        return self._tables

    @property
    def problem(self) -> str | None:
        """Why the store could not be read last time; None when it was."""
        return self._problem

    @property
    def informed(self) -> bool:
        """Whether any routing was ever seen, were it empty: before that, an unknown model is not an unknown model."""
        return self._informed

    def find(self, model: str) -> RoutingTable | None:
        return self._tables.get(model)

    def load(self) -> None:
        """Takes the tables that the file remembers. A file that cannot be read is worth a warning, not an end."""
        try:
            tables = _TABLES.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as error:
            _log.warning("remembered routing cannot be used", path=str(self._path), problem=str(error))
            return
        self._prepare(tables)
        self._take(tables)
        self._informed = True
        _log.info("remembered routing loaded", epochs=self._epochs())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the polling and takes this gateway out of the acknowledgements, so that no rollout waits for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        try:
            self._source().forget_gateway(self._gateway)
        except (TidegateError, OSError) as error:
            _log.warning("gateway not signed off; its acknowledgement expires", problem=str(error))

    def poll(self) -> None:
        """One look at the store: takes what changed, then acknowledges."""
        try:
            source = self._source()
            token = source.change_token()
            changed = token != self._token
            if changed:
                tables = source.all()
                self._prepare(tables)
                self._take(tables)
                self._token = token
                self._informed = True
                self._remember()
            self._acknowledge(source, force=changed)
        except (TidegateError, OSError) as error:
            self._failed(str(error))
        except Exception as error:
            _log.exception("routing poll failed")
            self._failed(f"{type(error).__name__}: {error}")
        else:
            if self._problem is not None:
                _log.info("routing store answers again")
            self._problem = None

    def _run(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            self.poll()

    def _failed(self, problem: str) -> None:
        self._metrics.routing_failures.inc()
        if self._problem is None:
            _log.warning("routing store unavailable, last good routing stays in force", problem=problem)
        self._problem = problem

    def _take(self, offered: Sequence[RoutingTable]) -> None:
        """Replaces the tables by the store's, except where the store's epoch is lower than the one in force.

        A deployment that the store no longer lists was deleted: it is served no longer.
        """
        now = {table.deployment: table for table in self._tables.values()}
        tables: dict[str, RoutingTable] = {}
        for table in offered:
            held = now.get(table.deployment)
            if held is not None and table.epoch < held.epoch:
                _log.error("lower epoch refused", deployment=table.deployment, held=held.epoch, offered=table.epoch)
                table = held  # noqa: PLW2901 - the one in force stands for the refused one
            elif held is None or table.epoch > held.epoch:
                self._metrics.epoch.labels(table.deployment).set(table.epoch)
                self._metrics.expect(table)
                _log.info(
                    "routing in force",
                    deployment=table.deployment,
                    epoch=table.epoch,
                    rollout=table.rollout,
                    step=table.step,
                    weights={arm.version: arm.weight for arm in table.arms},
                )
            tables[table.model] = table
        self._tables = tables

    def _acknowledge(self, source: RoutingSource, *, force: bool) -> None:
        """Tells the store which epochs are in force here: by then every new request uses them."""
        now = self._clock.monotonic()
        if not force and self._acked_at is not None and now - self._acked_at < self._ack_seconds:
            return
        source.acknowledge_all(self._gateway, self._epochs())
        self._acked_at = now

    def _remember(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
            part.write_bytes(json.dumps(_TABLES.dump_python(list(self._tables.values()), mode="json")).encode())
            part.replace(self._path)
        except OSError as error:
            _log.warning("routing not remembered", path=str(self._path), problem=str(error))

    def _epochs(self) -> dict[str, int]:
        return {table.deployment: table.epoch for table in self._tables.values()}
