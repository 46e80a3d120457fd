"""Work that must not delay a request: items are collected in memory and handed to a sink by one background thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from tidegate.errors import TidegateError
from tidegate.logging import get_logger

T = TypeVar("T")
_log = get_logger(__name__)
_LONGEST_PAUSE_SECONDS = 15.0
_BATCHES_PER_ROUND = 8  # a backlog is worked off in larger batches, so that it shrinks faster than it grows


class BatchWriter(Generic[T]):
    """A bounded queue with a thread that writes it in batches.

    Args:
        name: for logs and metrics: 'log', 'pairs', 'windows'.
        sink: writes one batch. `OSError` and `TidegateError` mean "try again later": the batch is kept. Any other error
            is a bug in an item: the batch is dropped and counted, so that one bad item does not stop all later ones.
        capacity: items kept while the sink fails; beyond it the oldest are dropped and counted.
        flush_items: a batch is written when so many wait …
        flush_seconds: … or the oldest has waited so long (s).
        on_drop: told how many items were lost.
        prepare: called once on the thread before the first batch: slow imports of the sink.
    """

    def __init__(
        self,
        name: str,
        sink: Callable[[list[T]], None],
        *,
        capacity: int,
        flush_items: int,
        flush_seconds: float,
        on_drop: Callable[[int], None],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._sink = sink
        self._capacity = capacity
        self._flush_items = flush_items
        self._flush_seconds = flush_seconds
        self._on_drop = on_drop
        self._prepare = prepare
        self._items: deque[T] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"write-{name}", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why the last batch could not be written; None when it was."""
        return self._problem

    @property
    def waiting(self) -> int:
        return len(self._items)

    def start(self) -> None:
        self._thread.start()

    def offer(self, item: T) -> None:
        """Queues an item. Never waits for the sink."""
        with self._wake:
            self._items.append(item)
            excess = len(self._items) - self._capacity
            if excess > 0:
                self._items.popleft()
            if len(self._items) >= self._flush_items:
                self._wake.notify()
        if excess > 0:
            self._on_drop(1)

    def stop(self, timeout: float) -> None:
        """Writes what waits and ends the thread; what cannot be written within `timeout` s is lost, and logged."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._items:
            _log.error("items lost at shutdown", writer=self.name, items=len(self._items), problem=self._problem)
            self._on_drop(len(self._items))

    def _run(self) -> None:
        if self._prepare is not None:
            self._prepare()
        failures = 0
        while True:
            pause = min(self._flush_seconds * 2**failures, _LONGEST_PAUSE_SECONDS) if failures else self._flush_seconds
            stopping = self._wait(pause, ready_on_items=failures == 0)
            written = self._write_all()
            failures = 0 if written else failures + 1
            if stopping:
                if not written:
                    time.sleep(0.2)  # a second chance for a database that was locked for a moment
                    self._write_all()
                return

    def _wait(self, seconds: float, *, ready_on_items: bool) -> bool:
        """Until there is enough to write, time has passed, or the end has come (True)."""
        with self._wake:
            self._wake.wait_for(
                lambda: self._stopping or (ready_on_items and len(self._items) >= self._flush_items), timeout=seconds
            )
            return self._stopping

    def _write_all(self) -> bool:
        while self._items:
            with self._wake:
                count = min(len(self._items), self._flush_items * _BATCHES_PER_ROUND)
                batch = [self._items.popleft() for _ in range(count)]
            if not self._write(batch):
                return False
        return True

    def _write(self, batch: list[T]) -> bool:
        try:
            self._sink(batch)
        except (OSError, TidegateError) as error:
            if self._problem is None:
                _log.warning(
                    "batch not written, will try again", writer=self.name, items=len(batch), problem=str(error)
                )
            self._problem = str(error)
            self._put_back(batch)
            return False
        except Exception as error:
            _log.exception("batch dropped", writer=self.name, items=len(batch))
            self._problem = f"{type(error).__name__}: {error}"
            self._on_drop(len(batch))
            return True
        if self._problem is not None:
            _log.info("writing again", writer=self.name)
        self._problem = None
        return True

    def _put_back(self, batch: list[T]) -> None:
        with self._wake:
            self._items.extendleft(reversed(batch))
            excess = max(0, len(self._items) - self._capacity)
            for _ in range(excess):
                self._items.popleft()
        if excess:
            self._on_drop(excess)
