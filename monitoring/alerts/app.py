"""The receiver's HTTP side: POST /v1/alerts/<source>, /healthz, /readyz, /metrics.

A delivery is answered 2xx only once it is stored. What can be mended by the sender is 400 or 401; what the sender
should try again is 503, never 429: Alertmanager gives up on everything but a 5xx.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitoring.alerts.body import MAX_BODY_BYTES, parse_json
from monitoring.alerts.metrics import ReceiverMetrics
from monitoring.alerts.sources import SOURCES
from monitoring.alerts.sources.base import AlertSource, AuthenticationError, InvalidDelivery
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.domain.drift import Alert
from tidegate.errors import TidegateError
from tidegate.ids import new_id
from tidegate.logging import get_logger
from tidegate.store.alerts import AlertStore, Delivery

_log = get_logger(__name__)

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
OnStored = Callable[[list[Alert], list[Alert]], None]
"""Told after a delivery is stored: (its new alerts, those known before)."""


class Receiver:
    """Takes deliveries of every source.

    Args:
        secrets: the secret of each source, by name.
        on_stored: told of stored alerts; must not block.
        store_seconds: longest wait for the database before the sender is asked to come again.
        max_waiting: deliveries that may wait for the database at once; more are answered 503.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        secrets: dict[str, str],
        metrics: ReceiverMetrics,
        on_stored: OnStored,
        store_seconds: float = 8.0,
        max_waiting: int = 256,
    ) -> None:
        self._db = db
        self._clock = clock
        self._alerts = AlertStore(db, clock)
        self._secrets = secrets
        self._metrics = metrics
        self._on_stored = on_stored
        self._store_seconds = store_seconds
        self._max_waiting = max_waiting
        self._waiting = 0
        # One writer: SQLite has one anyway, and waiting here costs no lock retries.
        self._writer: Executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    def app(self, lifespan: Lifespan | None = None) -> Starlette:
        routes = [
            Route("/v1/alerts/{source}", self._deliver, methods=["POST"]),
            Route("/healthz", _healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics_page),
        ]
        return Starlette(routes=routes, lifespan=lifespan)

    async def _deliver(self, request: Request) -> Response:
        name = request.path_params["source"]
        source = SOURCES.get(name)
        if source is None:
            return _error(404, f"there is no alert source {name!r}", f"Known sources: {', '.join(sorted(SOURCES))}.")
        response = await self._answer(request, source)
        self._metrics.deliveries.labels(source.name, str(response.status_code)).inc()
        return response

    async def _answer(self, request: Request, source: AlertSource) -> Response:
        try:
            body = await _bounded_body(request)
            if body is None:
                return _error(
                    413, f"the body is larger than {MAX_BODY_BYTES} bytes", "Lower max_alerts of the webhook."
                )
            headers = dict(request.headers)
            source.authenticate(headers, body, secret=self._secrets[source.name], now=self._clock.now())
            found = source.parse(parse_json(body))
        except ClientDisconnect:
            return _error(400, "the sender left before the body was complete", "Send the delivery again.")
        except AuthenticationError as error:
            return _error(401, error.problem, error.next_step, {"WWW-Authenticate": "Bearer"})
        except InvalidDelivery as error:
            return _error(400, error.problem, error.next_step)
        delivery = Delivery(id=new_id(), source=source.name, received_at=self._clock.now(), body=body.decode("utf-8"))
        return await self._store(delivery, found)

    async def _store(self, delivery: Delivery, found: list[Alert]) -> Response:
        if self._waiting >= self._max_waiting:
            return _busy(f"{self._waiting} deliveries wait for the database already")
        self._waiting += 1
        began = time.perf_counter()
        stored = asyncio.get_running_loop().run_in_executor(self._writer, self._alerts.record, delivery, found)
        stored.add_done_callback(self._no_longer_waiting)
        try:
            # A write that finishes after its sender was sent away is harmless: the alerts are known when they return.
            new = await asyncio.wait_for(asyncio.shield(stored), self._store_seconds)
        except TimeoutError:
            return _busy(f"the database did not store the delivery within {self._store_seconds:g} s")
        except TidegateError as error:
            _log.error("delivery not stored", why=str(error))
            return _busy(error.problem)
        except Exception as error:
            _log.exception("delivery not stored")
            return _busy(f"the database failed: {type(error).__name__}")
        self._metrics.store_seconds.observe(time.perf_counter() - began)
        fresh = {alert.dedup_key for alert in new}
        known = [alert for alert in found if alert.dedup_key not in fresh]
        self._metrics.alerts.labels(delivery.source, "no").inc(len(new))
        self._metrics.alerts.labels(delivery.source, "yes").inc(len(known))
        self._on_stored(new, known)
        return JSONResponse({"delivery": delivery.id, "alerts": len(found), "new": len(new)}, status_code=202)

    def _no_longer_waiting(self, stored: asyncio.Future[list[Alert]]) -> None:
        self._waiting -= 1
        if not stored.cancelled():
            stored.exception()  # marks a failure after the time-out as seen

    async def _readyz(self, _request: Request) -> Response:
        """Ready when the database can be read."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.run_in_executor(None, self._alerts.pending, 1), self._store_seconds)
        except Exception as error:
            return _error(503, f"the database cannot be read: {error}", "Run 'tidegate status'.")
        return JSONResponse({"status": "ready"})

    async def _metrics_page(self, _request: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _bounded_body(request: Request) -> bytes | None:
    """The body, or None as soon as it is too large; no more than the limit is ever held."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _busy(reason: str) -> Response:
    return _error(503, reason, "Send the delivery again; nothing was answered for.", {"Retry-After": "5"})


def _error(status: int, problem: str, next_step: str, headers: dict[str, str] | None = None) -> Response:
    body = {"error": {"problem": problem, "next_step": next_step}}
    return JSONResponse(body, status_code=status, headers=headers)
