"""Asks engines over their OpenAI API. Every way in which that can fail is an `EngineFailure`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Self

import httpx

from serving.gateway.engine_wire import (
    Answer,
    EngineFailure,
    Piece,
    read_answer,
    read_piece,
    request_body,
    status_failure,
    transport_failure,
)
from serving.gateway.validation import Ask
from tidegate.domain.example import Message
from tidegate.domain.routing import Arm

Probe = Literal["answers", "silent", "gone"]
_SERVER_ERROR = 500
_CONNECT_SECONDS = 2.0
_KEEPALIVE_SECONDS = 30.0


class EngineClient:
    """A pool of connections to the engines. `limit_seconds` of every call bounds it as a whole, not only each read."""

    def __init__(
        self,
        *,
        max_connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._answered: dict[str, float] = {}
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
            trust_env=False,  # engines are neighbours: a proxy of the environment must not come between
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def probe(self, target: str, limit_seconds: float) -> Probe:
        """Whether an engine answers HTTP, is silent within the limit, or gone: no connection, or a server's error."""
        try:
            async with asyncio.timeout(limit_seconds):
                response = await self._http.get(f"{target}/v1/models")
        except (TimeoutError, httpx.TimeoutException):
            return "silent"
        except httpx.HTTPError:
            return "gone"
        self._heard(target, response)
        return "answers" if response.status_code < _SERVER_ERROR else "gone"

    def silence(self, target: str) -> float:
        """Seconds since an engine last answered anything, a probe or a user's request; infinite when it never did."""
        return self._monotonic() - self._answered.get(target, -math.inf)

    def _heard(self, target: str, response: httpx.Response) -> None:
        if response.status_code < _SERVER_ERROR:
            self._answered[target] = self._monotonic()

    async def complete(
        self, arm: Arm, messages: Sequence[Message], ask: Ask, *, request_id: str, limit_seconds: float
    ) -> Answer:
        """The whole answer.

        Raises:
            EngineFailure: there is none.
        """
        body = request_body(arm, messages, ask, stream=False)
        try:
            async with asyncio.timeout(limit_seconds):
                response = await self._http.post(
                    f"{arm.target}/v1/chat/completions", json=body, headers={"x-request-id": request_id}
                )
        except TimeoutError:
            raise EngineFailure("timeout", f"no answer within {limit_seconds:.1f} s") from None
        except httpx.HTTPError as error:
            raise transport_failure(error) from None
        self._heard(arm.target, response)
        if response.status_code != 200:
            raise status_failure(response.status_code, response.content)
        return read_answer(response.content)

    async def stream(
        self, arm: Arm, messages: Sequence[Message], ask: Ask, *, request_id: str, limit_seconds: float
    ) -> EngineStream:
        """A stream whose first token is there already: until then a failure can still be hidden from the user.

        Raises:
            EngineFailure: the stream broke before its first token.
        """
        deadline = asyncio.get_running_loop().time() + limit_seconds
        request = self._http.build_request(
            "POST",
            f"{arm.target}/v1/chat/completions",
            json=request_body(arm, messages, ask, stream=True),
            headers={"x-request-id": request_id, "accept": "text/event-stream"},
        )
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._http.send(request, stream=True)
        except TimeoutError:
            raise EngineFailure("timeout", f"no answer within {limit_seconds:.1f} s") from None
        except httpx.HTTPError as error:
            raise transport_failure(error) from None
        self._heard(arm.target, response)
        stream = EngineStream(response, deadline)
        try:
            await stream.open()
        except BaseException:
            await stream.close()
            raise
        return stream


class EngineStream:
    """Pieces of an answer. Iteration ends normally only after the engine's `[DONE]`; otherwise it raises.

    Raises (while iterating):
        EngineFailure: the engine sent an error, broke off, or took longer than the deadline.
    """

    def __init__(self, response: httpx.Response, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self._pieces = self._read()
        self._held: list[Piece] = []

    def extend(self, deadline: float) -> None:
        """Moves the deadline (event loop time): the limit for the first token is not the one for the whole answer."""
        self._deadline = deadline

    async def open(self) -> None:
        """Reads up to the first piece that carries text or the end of the answer."""
        if self._response.status_code != 200:
            async with self._guarded():
                body = await self._response.aread()
            raise status_failure(self._response.status_code, body)
        while True:
            piece = await self._next()
            if piece is None:
                raise EngineFailure("invalid", "the stream ended without an answer")
            self._held.append(piece)
            if piece.text or piece.finish_reason:
                return

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for piece in self._held:
            yield piece
        while (piece_or_end := await self._next()) is not None:
            yield piece_or_end

    async def close(self) -> None:
        await self._response.aclose()

    def _guarded(self) -> _Guard:
        return _Guard(self._deadline)

    async def _next(self) -> Piece | None:
        async with self._guarded():
            return await anext(self._pieces, None)

    async def _read(self) -> AsyncIterator[Piece]:
        finished = False
        async for line in self._response.aiter_lines():
            if not line.startswith("data:"):
                continue  # comments, event names, the blank line between events
            data = line[5:].strip()
            if data == "[DONE]":
                if not finished:
                    raise EngineFailure("interrupted", "the stream said [DONE] before the answer had ended")
                return
            piece = read_piece(data)
            finished = finished or piece.finish_reason is not None
            yield piece
        raise EngineFailure("interrupted", "the stream ended without [DONE]")


class _Guard:
    """A time limit whose ways to fail are `EngineFailure`s."""

    def __init__(self, deadline: float) -> None:
        self._timeout = asyncio.timeout_at(deadline)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise EngineFailure("timeout", "the answer took too long") from None
        if isinstance(error, httpx.HTTPError):
            raise transport_failure(error) from None
