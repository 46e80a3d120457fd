"""The ASGI app: paths, error objects, request ids, and what runs beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.completions import Completions
from serving.gateway.feedback import FeedbackApi
from serving.gateway.health import Health
from serving.gateway.identity import request_id
from serving.gateway.metrics import PATHS, Metrics
from serving.gateway.models import ModelsApi
from serving.gateway.openai_errors import ApiError, on_api_error, on_http_exception, on_unexpected
from serving.gateway.parts import Parts

WINDOW_FLUSH_SECONDS = 1.0
_MIRROR_DRAIN_SECONDS = 2.0
_WRITER_STOP_SECONDS = 5.0


def build_app(parts: Parts) -> Starlette:
    """The gateway over its parts. Its lifespan starts and stops them."""
    completions, feedback, health, models = Completions(parts), FeedbackApi(parts), Health(parts), ModelsApi(parts)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        for writer in parts.writers:
            writer.start()
        parts.watch.start()
        ticker = asyncio.create_task(_flush_windows(parts))
        try:
            yield
        finally:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker
            await stop(parts)

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", completions.chat, methods=["POST"]),
            Route("/v1/completions", completions.text, methods=["POST"]),
            Route("/v1/models", models.list, methods=["GET"]),
            Route("/v1/models/{model:path}", models.get, methods=["GET"]),
            Route("/v1/feedback", feedback.post, methods=["POST"]),
            Route("/healthz", health.healthz, methods=["GET"]),
            Route("/readyz", health.readyz, methods=["GET"]),
            Route("/metrics", health.metrics, methods=["GET"]),
        ],
        exception_handlers={
            ApiError: on_api_error,
            HTTPException: on_http_exception,
            Exception: on_unexpected,
        },
        middleware=[Middleware(Labelled, metrics=parts.metrics)],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # clients of an API get an error object, not a redirect of their POST
    return app


async def stop(parts: Parts) -> None:
    """Flushes everything, in the order in which one thing feeds the next."""
    await parts.mirroring.drain(_MIRROR_DRAIN_SECONDS)
    for window in parts.counter.changed():
        parts.windows.offer(window)
    await asyncio.gather(
        asyncio.to_thread(parts.watch.stop),
        *(asyncio.to_thread(writer.stop, _WRITER_STOP_SECONDS) for writer in parts.writers),
    )
    parts.features.close()
    await parts.engine.close()


async def _flush_windows(parts: Parts) -> None:
    while True:
        await asyncio.sleep(WINDOW_FLUSH_SECONDS)
        for window in parts.counter.changed():
            parts.windows.offer(window)


class Labelled:
    """Gives every request its id, says it in every answer, and counts answers by path and status.

    Plain ASGI: Starlette's middleware class buffers streams and hides the client's disconnect.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = request_id(Headers(scope=scope).get("x-request-id"))
        scope["tidegate.request_id"] = identifier
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = identifier
                self._metrics.responses.labels(path, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, labelled)
