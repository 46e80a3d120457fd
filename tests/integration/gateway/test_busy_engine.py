"""An engine that is busy stays an engine: what the gateway says of its readiness meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from serving.gateway.engine_wire import EngineFailure
from serving.gateway.health import Health
from serving.gateway.metrics import Metrics
from serving.gateway.parts import Parts
from serving.gateway.upstream import EngineClient
from serving.gateway.validation import Ask
from tests.integration.gateway.engine import EngineBehaviour, running_engine
from tests.ports import free_port
from tests.unit.gateway.tables import MODEL, table
from tidegate.clock import ManualClock
from tidegate.domain.example import Message

pytestmark = pytest.mark.integration


class Gateway:
    """Its probes' part, on a clock of its own, before a real server."""

    def __init__(self, url: str, client: EngineClient, clock: ManualClock) -> None:
        self.table = table(url, epoch=1)
        self.client, self.clock = client, clock
        watch = SimpleNamespace(tables={MODEL: self.table}, informed=True, problem=None)
        drain, features = SimpleNamespace(begun=False), SimpleNamespace(problem=None)
        parts = SimpleNamespace(
            watch=watch, drain=drain, features=features, engine=client, clock=clock, metrics=Metrics(), writers=()
        )
        self._health = Health(cast(Parts, parts))

    async def ready(self) -> tuple[int, str]:
        self.clock.advance(2.0)  # what was found before is remembered for a second
        response = await self._health.readyz(Request({"type": "http"}))
        body: dict[str, Any] = json.loads(bytes(response.body))
        return response.status_code, body["status"]

    async def becomes_ready(self) -> tuple[int, str]:
        """Looks again while it does not: an engine that has just begun may take more than a probe's second."""
        for _ in range(20):
            if (found := await self.ready()) == (200, "ready"):
                break
        return found

    async def answer(self) -> None:
        (arm,) = (arm for arm in self.table.arms if arm.role == "stable")
        ask = Ask(kind="chat", model=MODEL, messages=(Message(role="user", content="hello"),))
        await self.client.complete(arm, ask.messages, ask, request_id="r", limit_seconds=30)


@pytest.fixture
def behaviour() -> EngineBehaviour:
    return EngineBehaviour()


@pytest.fixture
def url(behaviour: EngineBehaviour) -> Iterator[str]:
    with running_engine(behaviour) as made:
        yield made
        behaviour.silent = False


@asynccontextmanager
async def gateway(url: str) -> AsyncIterator[Gateway]:
    clock = ManualClock()
    client = EngineClient(max_connections=8, monotonic=clock.monotonic)
    try:
        yield Gateway(url, client, clock)
    finally:
        await client.close()


def test_an_engine_that_is_silent_for_a_while_takes_no_gateway_out_of_service(
    url: str, behaviour: EngineBehaviour
) -> None:
    async def run() -> None:
        async with gateway(url) as made:
            assert await made.becomes_ready() == (200, "ready")
            behaviour.silent = True
            assert await made.ready() == (200, "ready")
            made.clock.advance(14.0)
            assert await made.ready() == (503, "unready"), "it has been silent for too long"
            behaviour.silent = False
            assert await made.becomes_ready() == (200, "ready")

    asyncio.run(run())


def test_an_engine_that_answers_users_is_not_away_however_long_probes_wait(
    url: str, behaviour: EngineBehaviour
) -> None:
    async def run() -> None:
        async with gateway(url) as made:
            behaviour.silent = True
            assert await made.ready() == (503, "unready"), "nobody has heard of it yet"
            for _ in range(3):
                made.clock.advance(12.0)
                await made.answer()
                assert await made.ready() == (200, "ready")
            behaviour.modes["banking-intent/1"] = "500"
            made.clock.advance(14.0)
            with pytest.raises(EngineFailure):
                await made.answer()
            assert await made.ready() == (503, "unready"), "an error is no answer"

    asyncio.run(run())


def test_an_engine_that_refuses_connections_is_away_at_once() -> None:
    behaviour, port = EngineBehaviour(), free_port()

    async def run() -> None:
        async with gateway(f"http://127.0.0.1:{port}") as made:
            with running_engine(behaviour, port):
                assert await made.becomes_ready() == (200, "ready")
            assert await made.ready() == (503, "unready")

    asyncio.run(run())
