"""The stores behind one database that may be away when the gateway starts: opened at first use, tried again later."""

from __future__ import annotations

import threading

from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.errors import Unavailable
from tidegate.logging import get_logger
from tidegate.store.evidence import EvidenceStore
from tidegate.store.routing import RoutingStore

_log = get_logger(__name__)
_PAUSE_SECONDS = 1.0


class Stores:
    """Thread-safe access to the routing and evidence stores.

    A gateway serves by its remembered routing while the database is away, so opening it is not a condition to start.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._db: Database | None = None
        self._failed: tuple[float, Unavailable] | None = None

    def try_open(self) -> None:
        """Opens the database if it is there.

        Raises:
            TidegateError: the URL or the schema is wrong, which waiting does not mend.
        """
        try:
            self._database()
        except Unavailable as error:
            _log.warning("database unavailable, starting without it", problem=str(error))

    def routing(self) -> RoutingStore:
        """Raises:
        Unavailable: the database is away.
        """
        return RoutingStore(self._database(), self._clock)

    def evidence(self) -> EvidenceStore:
        """Raises:
        Unavailable: the database is away.
        """
        return EvidenceStore(self._database(), self._clock)

    def _database(self) -> Database:
        with self._lock:
            if self._db is None:
                now = self._clock.monotonic()
                if self._failed is not None and now - self._failed[0] < _PAUSE_SECONDS:
                    raise Unavailable(self._failed[1].problem, next_step=self._failed[1].next_step)
                try:
                    self._db = Database.open(self._url)
                except Unavailable as error:
                    self._failed = (self._clock.monotonic(), error)
                    raise
            return self._db
