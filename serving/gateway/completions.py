"""The story of a model request: admit, check, choose an arm, ask, answer, record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.gateway.auth import Principal, authorize
from serving.gateway.body import read_json
from serving.gateway.dispatch import Call, Dispatched, T, dispatch
from serving.gateway.engine_wire import Answer, EngineFailure
from serving.gateway.features import render
from serving.gateway.identity import header_user
from serving.gateway.metrics import Outcome
from serving.gateway.openai_errors import ApiError, model_not_found, overloaded, unavailable
from serving.gateway.parts import Parts
from serving.gateway.recorder import Ending, Result
from serving.gateway.stream import StreamedAnswer, StreamSession
from serving.gateway.turn import Turn
from serving.gateway.upstream import EngineStream
from serving.gateway.validation import Ask, Kind, parse_ask
from serving.gateway.wire import Envelope, failure_error
from tidegate.domain.example import Message
from tidegate.domain.routing import Arm, RoutingTable
from tidegate.logging import get_logger

_log = get_logger(__name__)
_SHUTTING_DOWN = "This gateway is shutting down. Try again."


class Completions:
    """`/v1/chat/completions` and `/v1/completions`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._in_flight = 0

    async def chat(self, request: Request) -> Response:
        return await self._serve(request, "chat")

    async def text(self, request: Request) -> Response:
        return await self._serve(request, "text")

    async def _serve(self, request: Request, kind: Kind) -> Response:
        principal = authorize(self._parts.authenticate, request.headers.get("authorization"), "invoke")
        ask = parse_ask(await read_json(request, self._parts.limits.max_body_bytes), kind)
        table = self._parts.watch.find(ask.model)
        if table is None and not self._parts.watch.informed:
            raise unavailable("This gateway has not seen its routing yet. Try again shortly.", code="starting")
        if table is None:
            raise model_not_found(ask.model, sorted(self._parts.watch.tables))
        self._admit()
        handed_over = False
        try:
            turn = await self._turn(request, principal, ask, table)
            mirrored = self._parts.mirroring.reserve(turn, self._in_flight)
            response = await (
                self._stream(turn, mirrored=mirrored) if ask.stream else self._whole(turn, mirrored=mirrored)
            )
            handed_over = isinstance(response, StreamedAnswer)  # it leaves when the stream has ended
            return response
        finally:
            if not handed_over:
                self._leave()

    def _admit(self) -> None:
        if self._parts.drain.begun:
            raise unavailable(_SHUTTING_DOWN, code="shutting_down")
        if self._in_flight >= self._parts.limits.max_concurrency:
            self._parts.metrics.overloaded.inc()
            raise overloaded(self._parts.limits.max_concurrency)
        self._in_flight += 1
        self._parts.metrics.in_flight.set(self._in_flight)

    def _leave(self) -> None:
        self._in_flight -= 1
        self._parts.metrics.in_flight.set(self._in_flight)

    async def _turn(self, request: Request, principal: Principal, ask: Ask, table: RoutingTable) -> Turn:
        started = self._parts.clock.monotonic()
        user = ask.user or header_user(request.headers.get("x-tidegate-user")) or principal.name
        customer = ask.customer or user
        return Turn(
            request_id=request.scope["tidegate.request_id"],
            time=self._parts.clock.now(),
            started=started,
            deadline=asyncio.get_running_loop().time() + self._parts.limits.timeout_seconds,
            ask=ask,
            table=table,
            arm=table.choose(user),
            pseudonym=self._parts.pseudonyms.of(user),
            place=table.place(user),
            customer=customer,
            features=await self._parts.features.get(customer, table),
        )

    async def _dispatched(self, turn: Turn, call: Call[T]) -> Dispatched[T]:
        """What came of asking the engines; a shutdown in between is said as what it is."""
        try:
            async with self._parts.drain.limit(turn.deadline + 1.0):
                return await dispatch(turn.table, turn.arm, call, turn.deadline)
        except TimeoutError:
            self._parts.mirroring.release(turn)
            raise unavailable(_SHUTTING_DOWN, code="shutting_down") from None

    async def _whole(self, turn: Turn, *, mirrored: bool) -> Response:
        async def call(arm: Arm, limit: float) -> Answer:
            return await self._parts.engine.complete(
                arm, self._messages(turn, arm), turn.ask, request_id=turn.request_id, limit_seconds=limit
            )

        result = await self._dispatched(turn, call)
        if result.value is None:
            raise self._failed(turn, result, mirrored=mirrored)
        answer = result.value
        ending = Ending(
            dispatched=result,
            outcome="ok",
            text=answer.text,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            arm_seconds=asyncio.get_running_loop().time() - result.started,
        )
        self._parts.recorder.finish(turn, ending, mirrored=mirrored)
        return JSONResponse(_envelope(turn, result.arm).whole(answer), headers=_headers(turn, result.arm))

    async def _stream(self, turn: Turn, *, mirrored: bool) -> Response:
        async def call(arm: Arm, limit: float) -> EngineStream:
            return await self._parts.engine.stream(
                arm, self._messages(turn, arm), turn.ask, request_id=turn.request_id, limit_seconds=limit
            )

        result = await self._dispatched(turn, call)
        if result.value is None:
            raise self._failed(turn, result, mirrored=mirrored)
        result.value.extend(turn.deadline)
        ttft = self._parts.clock.monotonic() - turn.started
        envelope = _envelope(turn, result.arm)
        session = StreamSession(turn, result, result.value, envelope, self._parts.drain, ttft=ttft)

        def finished() -> None:
            self._leave()
            self._parts.recorder.finish(turn, session.ending(), mirrored=mirrored)

        return StreamedAnswer(session, _headers(turn, result.arm), finished)

    def _messages(self, turn: Turn, arm: Arm) -> Sequence[Message]:
        return render(arm, turn.ask.messages, turn.features)

    def _failed(self, turn: Turn, result: Result, *, mirrored: bool) -> ApiError:
        """Records a request that no arm answered and says what the client is told."""
        failure = result.last_failure or EngineFailure("interrupted", "no arm answered")
        outcome: Outcome = "refused" if failure.client_fault else failure.outcome
        _log.warning(
            "request failed",
            request_id=turn.request_id,
            version=result.arm.version,
            kind=failure.kind,
            detail=failure.detail,
        )
        ending = Ending(
            dispatched=result,
            outcome=outcome,
            text=None,
            prompt_tokens=None,
            completion_tokens=None,
            arm_seconds=asyncio.get_running_loop().time() - result.started,
            detail=failure.detail,
        )
        self._parts.recorder.finish(turn, ending, mirrored=mirrored)
        error = failure_error(failure)
        error.headers |= _headers(turn, result.arm)
        return error


def _envelope(turn: Turn, arm: Arm) -> Envelope:
    return Envelope(
        kind=turn.ask.kind,
        request_id=turn.request_id,
        model=turn.table.model,
        created=int(turn.time.timestamp()),
        fingerprint=f"fp_{arm.adapter_digest.removeprefix('sha256:')[:12]}",
    )


def _headers(turn: Turn, arm: Arm) -> dict[str, str]:
    """Which version answered, and in which rollout."""
    headers = {"x-tidegate-version": arm.version}
    if turn.table.rollout:
        headers["x-tidegate-rollout"] = turn.table.rollout
    return headers
