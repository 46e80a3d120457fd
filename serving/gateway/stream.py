"""A streamed answer: the engine's pieces as OpenAI chunks, with `[DONE]` only after a good end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.gateway.dispatch import Dispatched
from serving.gateway.drain import Drain
from serving.gateway.engine_wire import EngineFailure, Piece
from serving.gateway.metrics import Outcome
from serving.gateway.recorder import Ending
from serving.gateway.turn import Turn
from serving.gateway.upstream import EngineStream
from serving.gateway.wire import DONE, Envelope, event, failure_error
from tidegate.logging import get_logger

_log = get_logger(__name__)


class StreamSession:
    """One stream from its first token to its end, and what is remembered of it.

    Args:
        stream: opened: its first token is there.
        arm_ttft: from asking the arm to that token (s); `ttft`: from the request's arrival (s).
    """

    def __init__(
        self,
        turn: Turn,
        dispatched: Dispatched[EngineStream],
        stream: EngineStream,
        envelope: Envelope,
        drain: Drain,
        *,
        ttft: float,
    ) -> None:
        self._turn = turn
        self._dispatched = dispatched
        self._stream = stream
        self._envelope = envelope
        self._drain = drain
        self._ttft = ttft
        self._arm_ttft = self._arm_seconds()
        self._texts: list[str] = []
        self._usage: tuple[int, int] | None = None
        # Until the engine's good end or a failure is seen, the one who ended the stream is the client.
        self._outcome: Outcome = "abandoned"
        self._detail: str | None = None
        self._seconds: float | None = None

    async def body(self) -> AsyncIterator[bytes]:
        if first := self._envelope.first_chunk():
            yield first
        pieces = aiter(self._stream)
        try:
            while (piece := await self._next(pieces)) is not None:
                if piece.text or piece.finish_reason:
                    yield self._envelope.chunk(piece.text, piece.finish_reason)
        except EngineFailure as failure:
            self._fail(failure)
            yield event(failure_error(failure).body())
            return
        self._end("ok")
        if self._turn.ask.include_usage and self._usage is not None:
            yield self._envelope.usage_chunk(*self._usage)
        yield DONE

    async def close(self) -> None:
        await self._stream.close()

    def ending(self) -> Ending:
        prompt_tokens, completion_tokens = self._usage or (None, None)
        return Ending(
            dispatched=self._dispatched,
            outcome=self._outcome,
            text="".join(self._texts),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            arm_seconds=self._arm_seconds() if self._seconds is None else self._seconds,
            arm_ttft=self._arm_ttft,
            ttft=self._ttft,
            detail=self._detail,
        )

    async def _next(self, pieces: AsyncIterator[Piece]) -> Piece | None:
        try:
            async with self._drain.limit(self._turn.deadline):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise EngineFailure("timeout", "the answer took too long") from None
        if piece is not None:
            self._texts.append(piece.text)
            self._usage = piece.usage or self._usage
        return piece

    def _fail(self, failure: EngineFailure) -> None:
        _log.warning(
            "stream broke off",
            request_id=self._turn.request_id,
            version=self._dispatched.arm.version,
            kind=failure.kind,
            detail=failure.detail,
        )
        # While the process ends, a stream that is cut is not the arm's failure.
        self._end("abandoned" if self._drain.begun and failure.kind == "timeout" else failure.outcome)
        self._detail = failure.detail

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._seconds = self._arm_seconds()

    def _arm_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._dispatched.started


class StreamedAnswer(StreamingResponse):
    """Sends a session and calls `finished` exactly once, however the stream ends."""

    def __init__(self, session: StreamSession, headers: Mapping[str, str], finished: Callable[[], None]) -> None:
        super().__init__(
            session.body(),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no", **headers},
        )
        self._session = session
        self._finished = finished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            pass  # counted as abandoned
        finally:
            self._finished()
            with anyio.CancelScope(shield=True):
                await self._session.close()
