"""OpenAI's HTTP API over an engine's loop: Starlette requests in, responses out. Knows nothing of Ray."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from serving.engines.adapter_set import AdapterSet
from serving.engines.loop import EngineFailed, EngineLoop, QueueFull
from serving.engines.openai_schema import (
    ApiError,
    ChatCompletionRequest,
    CompletionRequest,
    model_card,
    model_list,
    model_not_found,
    overloaded,
    parse,
    server_error,
)
from serving.engines.openai_shapes import ChatShape, Shape, TextShape
from serving.engines.requests import ContextLengthExceeded, Delta, GenerationRequest
from tidegate.errors import NotFound, TidegateError
from tidegate.logging import get_logger

_MAX_BODY_BYTES = 1 << 20
_SSE_DONE = "data: [DONE]\n\n"


class OpenAIApi:
    """The endpoints of one replica.

    Args:
        loop: where rows are generated.
        adapters: which model ids may be named, beside the base.
        base_model: model id of the bare base.
        replica: the replica's name, for `/status`.
        max_model_length: window in tokens.
    """

    def __init__(
        self, loop: EngineLoop, adapters: AdapterSet, *, base_model: str, replica: str, max_model_length: int
    ) -> None:
        self._loop = loop
        self._adapters = adapters
        self._base = base_model
        self._replica = replica
        self._window = max_model_length
        self._started = int(time.time())
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._completion,
            ("GET", "/v1/models"): self._models,
            ("GET", "/status"): self._status,
        }

    async def handle(self, request: Request) -> Response:
        """Answers one request. Whatever goes wrong has the form of OpenAI's error object."""
        try:
            return await self._route(request)
        except ApiError as error:
            headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else None
            return JSONResponse(error.body, error.status, headers=headers)

    async def _route(self, request: Request) -> Response:
        path = request.url.path.removeprefix(request.scope.get("root_path", "")).rstrip("/")
        handler = self._routes.get((request.method, path))
        if handler is not None:
            return await handler(request)
        if request.method == "GET" and path.startswith("/v1/models/"):
            return self._model(path.removeprefix("/v1/models/"))
        if allowed := [method for method, known in self._routes if known == path]:
            raise ApiError(405, f"{request.method} is not allowed on {path}; use {allowed[0]}.")
        raise ApiError(404, f"Unknown request URL: {request.method} {path}.", code="unknown_url")

    # --- completions --------------------------------------------------------------------------------------------

    async def _chat(self, request: Request) -> Response:
        asked = parse(ChatCompletionRequest, await _body(request))
        wanted = await self._wanted(asked, asked.token_limit)
        shape = ChatShape(asked.model)
        return await self._respond(wanted, shape, stream=asked.stream, include_usage=asked.include_usage)

    async def _completion(self, request: Request) -> Response:
        asked = parse(CompletionRequest, await _body(request))
        wanted = await self._wanted(asked, asked.max_tokens)
        shape = TextShape(asked.model)
        return await self._respond(wanted, shape, stream=asked.stream, include_usage=asked.include_usage)

    async def _wanted(
        self, asked: ChatCompletionRequest | CompletionRequest, max_tokens: int | None
    ) -> GenerationRequest:
        if asked.model != self._base and not self._adapters.serves(asked.model):
            raise model_not_found(asked.model)
        chat = isinstance(asked, ChatCompletionRequest)
        messages = tuple(turn.message() for turn in asked.messages) if isinstance(asked, ChatCompletionRequest) else ()
        return GenerationRequest(
            adapter=None if asked.model == self._base else asked.model,
            messages=messages,
            text=None if chat else asked.text,  # type: ignore[union-attr]
            max_tokens=max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            stop=asked.stops,
            seed=asked.seed,
        )

    async def _respond(self, wanted: GenerationRequest, shape: Shape, *, stream: bool, include_usage: bool) -> Response:
        deltas = self._loop.stream(wanted)
        try:
            first = await anext(deltas)
            if stream:
                events = self._events(first, deltas, shape, include_usage)
                return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
            result = first.result
            async for delta in deltas:
                result = delta.result
        except TidegateError as error:
            raise _told(error, wanted.adapter or self._base) from None
        assert result is not None
        return JSONResponse(shape.whole(result))

    async def _events(
        self, first: Delta, deltas: AsyncGenerator[Delta], shape: Shape, include_usage: bool
    ) -> AsyncIterator[str]:
        """Server-sent events. A failure on the way is an error event, and then no `[DONE]`."""
        blank = {"usage": None} if include_usage else {}
        try:
            for chunk in shape.opening():
                yield _event(chunk | blank)
            result = first.result
            if first.text:
                yield _event(shape.piece(first.text) | blank)
            async for delta in deltas:
                result = delta.result
                if delta.text:
                    yield _event(shape.piece(delta.text) | blank)
            assert result is not None
            yield _event(shape.closing(result.finish_reason) | blank)
            if include_usage:
                yield _event(shape.usage(result))
            yield _SSE_DONE
        except TidegateError as error:
            yield _event(_told(error, "").body)
        finally:
            await deltas.aclose()  # frees the row of a client that left

    # --- the rest -----------------------------------------------------------------------------------------------

    def _models_served(self) -> dict[str, str]:
        ready = [status.slot.id for status in self._adapters.status if status.state == "ready"]
        return dict.fromkeys([self._base, *ready], self._base)

    async def _models(self, _: Request) -> Response:
        return JSONResponse(model_list(self._models_served(), self._started))

    def _model(self, name: str) -> Response:
        if name not in self._models_served():
            raise model_not_found(name)
        return JSONResponse(model_card(name, self._base, self._started))

    async def _status(self, _: Request) -> Response:
        adapters = [
            {"id": s.slot.id, "digest": s.slot.digest, "state": s.state, "message": s.message}
            for s in self._adapters.status
        ]
        return JSONResponse(
            {
                "replica": self._replica,
                "base_model": self._base,
                "max_model_length": self._window,
                "requests": self._loop.load,
                "failure": self._loop.failure,
                "adapters": adapters,
            }
        )


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > _MAX_BODY_BYTES:
                raise ApiError(413, f"The body is larger than {_MAX_BODY_BYTES} bytes.", code="body_too_large")
            chunks.append(chunk)
    except ClientDisconnect:
        raise ApiError(400, "The client closed the connection before the body had arrived.") from None
    return b"".join(chunks)


def _told(error: TidegateError, model: str) -> ApiError:
    """What a client reads of an error of the engine."""
    match error:
        case QueueFull():
            return overloaded()
        case ContextLengthExceeded():
            return ApiError.of(error, param="messages", code="context_length_exceeded")
        case NotFound():
            return model_not_found(model)
        case EngineFailed():
            get_logger("engine").error("a request failed", error=str(error))
            return server_error("The engine failed while it answered.")
        case _:
            return ApiError.of(error)


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
