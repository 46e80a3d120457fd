"""The receiver as a process: HTTP, and the dispatcher in the background."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from starlette.applications import Starlette

from monitoring.alerts.app import Receiver
from monitoring.alerts.metrics import ReceiverMetrics
from monitoring.alerts.sources import SOURCES
from monitoring.alerts.tokens import load_or_create_token
from monitoring.retraining.decisions import RetrainDecisions
from monitoring.retraining.dispatcher import Dispatcher
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.drift import Alert
from tidegate.errors import ResourceExhausted
from tidegate.logging import get_logger
from tidegate.ports import RunLauncher
from tidegate.settings import Settings
from tidegate.wire import KEEP_ALIVE_SECONDS

_log = get_logger(__name__)
_GRACE_SECONDS = 3
_CONNECT_SECONDS = 10  # before the time-out of the answer begins: more than the KFP client takes, with name look-up
_MAX_RECONSIDERED = 1000  # known alerts kept for reconsidering; what falls off comes again with the next delivery


class Worker:
    """The background side: decides and dispatches, woken by deliveries and by the clock."""

    def __init__(
        self, dispatcher: Dispatcher, decisions: RetrainDecisions, metrics: ReceiverMetrics, *, tick_seconds: float
    ) -> None:
        self._dispatcher = dispatcher
        self._decisions = decisions
        self._metrics = metrics
        self._tick_seconds = tick_seconds
        self._again: deque[Alert] = deque(maxlen=_MAX_RECONSIDERED)
        self._wake = asyncio.Event()

    def stored(self, new: list[Alert], known: list[Alert]) -> None:
        """Called by the receiver after a delivery was stored."""
        self._again.extend(known)
        if new or known:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled; a round that fails is logged and tried again with the next."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._tick_seconds)
            self._wake.clear()
            try:
                leading = await asyncio.to_thread(self._round)
                self._metrics.dispatching.set(1 if leading else 0)
            except Exception:
                self._metrics.dispatch_errors.inc()
                _log.exception("dispatcher round failed")
                await asyncio.sleep(self._tick_seconds)

    def _round(self) -> bool:
        leading = self._dispatcher.tick()
        while self._again:
            self._decisions.reconsider(self._again.popleft())
        return leading

    def stop(self) -> None:
        with suppress(Exception):  # the lease expires by itself when the database is gone
            self._dispatcher.release()


def build(settings: Settings, launcher: RunLauncher | None) -> Starlette:
    """The receiver's application; its lifespan runs the dispatcher."""
    clock = SystemClock()
    db = Database.open(settings.database_url)
    metrics = ReceiverMetrics()
    decisions = RetrainDecisions(db, clock, cooldown_seconds=settings.retraining.cooldown_seconds)
    dispatcher = Dispatcher(
        db=db,
        clock=clock,
        decisions=decisions,
        launcher=launcher,
        holder=f"{socket.gethostname()}:{os.getpid()}",
        lease_seconds=settings.intervals.lease_ttl,
        start_seconds=settings.kfp.request_timeout + _CONNECT_SECONDS,
        max_attempts=settings.retraining.max_attempts,
        retry_seconds=settings.retraining.retry_seconds,
    )
    worker = Worker(dispatcher, decisions, metrics, tick_seconds=settings.intervals.dispatcher_tick)
    token = load_or_create_token(settings.receiver_token_path)
    receiver = Receiver(db, clock, secrets=dict.fromkeys(SOURCES, token), metrics=metrics, on_stored=worker.stored)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        background = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            background.cancel()
            with suppress(asyncio.CancelledError):
                await background
            worker.stop()
            db.close()

    return receiver.app(lifespan)


def serve(settings: Settings, launcher: RunLauncher | None) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ResourceExhausted: the port is taken.
    """
    listener = _bind(settings.receiver_host, settings.receiver_port)
    _log.info("receiver listens", host=settings.receiver_host, port=listener.getsockname()[1])
    config = uvicorn.Config(
        build(settings, launcher),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn raises the signal again once it has shut down, which turns a clean end into a death by signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ResourceExhausted(
            f"the receiver cannot listen on {host}:{port}: {error.strerror}",
            next_step="Set TIDEGATE_RECEIVER_PORT to a free port.",
        ) from None
    return listener
