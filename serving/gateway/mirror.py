"""Mirroring: a sample of first turns is also sent to the other arm, and both answers become a `Pair`.

The other arm gets the same features and a copy of the request, after the user has been answered. It never reaches the
user, is not part of latency figures or arm counts, and is the first thing to go under load.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from serving.gateway.batching import BatchWriter
from serving.gateway.engine_wire import EngineFailure
from serving.gateway.features import named, render
from serving.gateway.metrics import Metrics
from serving.gateway.turn import Turn
from serving.gateway.upstream import EngineClient
from tidegate.clock import Clock
from tidegate.domain.evidence import ArmAnswer, Pair
from tidegate.domain.routing import Arm, RoutingTable, bucket
from tidegate.ids import new_id
from tidegate.logging import get_logger

_log = get_logger(__name__)
_MAX_USERS = 200_000  # remembered per gateway, about 20 MB; the oldest are forgotten first
_BUSY_SHARE = 0.5  # of the allowed requests in flight: above it, mirroring is shed


class Mirroring:
    """Samples first turns, sends them to the other arm, hands pairs on to be stored.

    Args:
        pairs: writes pairs off the request path.
        max_in_flight: of the gateway's own requests: mirroring stops at half of it.
        timeout_seconds: an arm that has not answered by then has lost (outcome `timeout`).
    """

    def __init__(
        self,
        engine: EngineClient,
        pairs: BatchWriter[Pair],
        *,
        max_in_flight: int,
        timeout_seconds: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._pairs = pairs
        self._max_in_flight = max_in_flight
        self._timeout = timeout_seconds
        self._clock = clock
        self._metrics = metrics
        self._users: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserved: set[tuple[str, str]] = set()

    def reserve(self, turn: Turn, in_flight: int) -> bool:
        """Whether this turn shall become a pair; decided before any answer, so that answers cannot bias the sample."""
        table = turn.table
        if not is_sampled(table, turn.request_id) or not turn.ask.first_turn or self._seen(turn):
            return False
        if in_flight > self._max_in_flight * _BUSY_SHARE:
            return self._shed("busy")
        if len(self._reserved) >= table.mirror.max_concurrency:
            return self._shed("concurrency")
        self._reserved.add(_key(turn))
        self._users[_key(turn)] = None
        if len(self._users) > _MAX_USERS:
            self._users.popitem(last=False)
        return True

    def release(self, turn: Turn) -> None:
        """The turn became no pair (the client went away): the user may be sampled again."""
        self._users.pop(_key(turn), None)
        self._reserved.discard(_key(turn))

    def submit(self, turn: Turn, shown: Arm, answers: dict[str, ArmAnswer]) -> None:
        """Completes the pair: `answers` has the shown arm's by role, and the other's when it was asked already."""
        other = next((arm for arm in turn.table.arms if arm.role not in answers), None)
        if other is None:
            self._reserved.discard(_key(turn))
            self._store(turn, shown, answers)
            return
        task = asyncio.create_task(self._ask_other(turn, shown, other, answers))
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, turn))

    async def drain(self, seconds: float) -> None:
        """Waits for what is on its way, then gives up the rest: an unanswered mirror at shutdown says nothing."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()

    def _ended(self, task: asyncio.Task[None], turn: Turn) -> None:
        self._tasks.discard(task)
        self._reserved.discard(_key(turn))

    async def _ask_other(self, turn: Turn, shown: Arm, other: Arm, answers: dict[str, ArmAnswer]) -> None:
        started = self._clock.monotonic()
        messages = render(other, turn.ask.messages, turn.features)
        try:
            answer = await self._engine.complete(
                other, messages, turn.ask, request_id=f"{turn.request_id}.mirror", limit_seconds=self._timeout
            )
        except EngineFailure as failure:
            said = failed_answer(other, failure, self._clock.monotonic() - started)
        else:
            seconds = self._clock.monotonic() - started
            said = ArmAnswer(version=other.version, outcome="ok", text=answer.text, latency_seconds=seconds)
        self._metrics.mirrored.labels(said.outcome).inc()
        self._store(turn, shown, answers | {other.role: said})

    def _store(self, turn: Turn, shown: Arm, answers: dict[str, ArmAnswer]) -> None:
        self._pairs.offer(
            Pair(
                id=new_id(),
                deployment=turn.table.deployment,
                rollout=turn.table.rollout or "",
                step=turn.table.step or "",
                epoch=turn.table.epoch,
                user=turn.pseudonym,
                time=turn.time,
                request_id=turn.request_id,
                text=turn.ask.text,
                features=dict(named(shown.prompt, turn.features)),
                shown=shown.role,
                stable=answers["stable"],
                candidate=answers["candidate"],
            )
        )

    def _seen(self, turn: Turn) -> bool:
        return _key(turn) in self._users

    def _shed(self, reason: str) -> bool:
        self._metrics.mirror_shed.labels(reason).inc()
        return False


def is_sampled(table: RoutingTable, request_id: str) -> bool:
    """A share `mirror.percent` of requests, by a salted hash of their ids: every gateway would decide the same."""
    if table.rollout is None or len(table.arms) < 2 or table.mirror.percent <= 0:
        return False
    return bucket(f"{table.salt}/mirror", request_id) * 100.0 < table.mirror.percent


def failed_answer(arm: Arm, failure: EngineFailure, seconds: float) -> ArmAnswer:
    return ArmAnswer(
        version=arm.version, outcome=failure.outcome, text=None, latency_seconds=seconds, detail=failure.detail
    )


def _key(turn: Turn) -> tuple[str, str]:
    return turn.table.rollout or "", turn.pseudonym
