"""Asks an engine over its OpenAI API and turns every way in which that can fail into an `EngineFailure`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import httpx

from serving.gateway.validation import Ask
from tidegate.domain.evidence import ArmOutcome
from tidegate.domain.example import Message
from tidegate.domain.routing import Arm

FailureKind = Literal["connect", "status", "timeout", "invalid", "interrupted"]
_CONNECT_SECONDS = 2.0
_KEEPALIVE_SECONDS = 30.0
_MAX_DETAIL = 500
_CLIENT_FAULTS = frozenset({400, 413, 422})
_TEMPORARY = frozenset({429, 500, 502, 503, 504})


class EngineFailure(Exception):
    """An engine did not answer, or not with an answer.

    Attributes:
        kind: `connect` (no connection), `status` (an HTTP error), `timeout`, `invalid` (not the contract's answer),
            `interrupted` (the answer broke off).
        status: the HTTP status, when there was one.
        error: the engine's own error object, when it sent one.
    """

    def __init__(
        self, kind: FailureKind, detail: str, *, status: int | None = None, error: dict[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail[:_MAX_DETAIL]
        self.status = status
        self.error = error

    @property
    def outcome(self) -> ArmOutcome:
        if self.kind == "timeout":
            return "timeout"
        return "invalid" if self.kind == "invalid" else "error"

    @property
    def client_fault(self) -> bool:
        """The engine refused the request itself: too long for the model, for example."""
        return self.kind == "status" and self.status in _CLIENT_FAULTS

    @property
    def temporary(self) -> bool:
        """Asking again may help: a replica restarts, or the engine is full for a moment."""
        return self.kind in ("connect", "interrupted") or (self.kind == "status" and self.status in _TEMPORARY)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed answer."""

    text: str = ""
    finish_reason: str | None = None
    usage: tuple[int, int] | None = None


class EngineClient:
    """A pool of connections to the engines. `limit_seconds` of every call bounds it as a whole, not only each read."""

    def __init__(self, *, max_connections: int, transport: httpx.AsyncBaseTransport | None = None) -> None:
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

    async def reachable(self, target: str, limit_seconds: float) -> bool:
        """Whether anything answers HTTP at the engine's address."""
        try:
            async with asyncio.timeout(limit_seconds):
                response = await self._http.get(f"{target}/v1/models")
        except (httpx.HTTPError, TimeoutError):
            return False
        return response.status_code < 500

    async def complete(
        self, arm: Arm, messages: Sequence[Message], ask: Ask, *, request_id: str, limit_seconds: float
    ) -> Answer:
        """The whole answer.

        Raises:
            EngineFailure: there is none.
        """
        payload = _payload(arm, messages, ask, stream=False)
        try:
            async with asyncio.timeout(limit_seconds):
                response = await self._http.post(
                    f"{arm.target}/v1/chat/completions", json=payload, headers={"x-request-id": request_id}
                )
        except TimeoutError:
            raise EngineFailure("timeout", f"no answer within {limit_seconds:.1f} s") from None
        except httpx.HTTPError as error:
            raise _from_transport(error) from None
        if response.status_code != 200:
            raise _from_status(response.status_code, response.content)
        return _answer(response.content)

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
            json=_payload(arm, messages, ask, stream=True),
            headers={"x-request-id": request_id, "accept": "text/event-stream"},
        )
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._http.send(request, stream=True)
        except TimeoutError:
            raise EngineFailure("timeout", f"no answer within {limit_seconds:.1f} s") from None
        except httpx.HTTPError as error:
            raise _from_transport(error) from None
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
            raise _from_status(self._response.status_code, body)
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
            piece = _piece(data)
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
            raise _from_transport(error) from None


# --- the wire -------------------------------------------------------------------------------------------------------


def _payload(arm: Arm, messages: Sequence[Message], ask: Ask, *, stream: bool) -> dict[str, Any]:
    """The engine's request. The version's defaults hold where the client is silent; `max_tokens` may only narrow."""
    defaults = arm.generation
    payload: dict[str, Any] = {
        "model": arm.adapter,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "max_tokens": min(ask.max_tokens or defaults.max_tokens, defaults.max_tokens),
        "temperature": defaults.temperature if ask.temperature is None else ask.temperature,
    }
    stops = list(dict.fromkeys((*defaults.stop, *ask.stop)))
    if stops:
        payload["stop"] = stops
    if ask.seed is not None:
        payload["seed"] = ask.seed
    if stream:
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    return payload


def _answer(body: bytes) -> Answer:
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        text = choice["message"]["content"]
        usage = value["usage"]
        answer = Answer(
            text=text,
            finish_reason=choice["finish_reason"],
            prompt_tokens=int(usage["prompt_tokens"]),
            completion_tokens=int(usage["completion_tokens"]),
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EngineFailure("invalid", f"the engine's answer is no chat completion: {error!r}") from None
    if not isinstance(answer.text, str) or not isinstance(answer.finish_reason, str):
        raise EngineFailure("invalid", "the engine's answer has no text or no finish_reason")
    return answer


def _piece(data: str) -> Piece:
    try:
        value = json.loads(data)
        if value.get("error"):
            error = value["error"]
            message = str(error.get("message", error) if isinstance(error, dict) else error)
            raise EngineFailure("interrupted", f"the engine reported: {message}")
        usage = value.get("usage")
        choices = value["choices"]
        delta = choices[0].get("delta") or {} if choices else {}
        text = delta.get("content") or ""
        reason = choices[0].get("finish_reason") if choices else None
        tokens = (int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise EngineFailure("invalid", f"the engine sent a chunk that is none: {error!r}") from None
    if not isinstance(text, str) or not isinstance(reason, str | None):
        raise EngineFailure("invalid", "the engine sent a chunk with a wrong type")
    return Piece(text=text, finish_reason=reason, usage=tokens)


def _from_transport(error: httpx.HTTPError) -> EngineFailure:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return EngineFailure("connect", what)
    return EngineFailure("interrupted", what)


def _from_status(status: int, body: bytes) -> EngineFailure:
    try:
        error = json.loads(body)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return EngineFailure("status", f"HTTP {status}: {body[:200].decode(errors='replace')}", status=status)
    return EngineFailure("status", f"HTTP {status}: {message}", status=status, error=error)
