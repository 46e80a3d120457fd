"""Keeps an engine's loaded adapters as they are declared, while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.engines.adapter_files import read_adapter
from serving.engines.generator import AdapterGenerator
from serving.engines.loop import EngineLoop
from serving.engines.requests import GenerationRequest
from tidegate.domain.example import Message
from tidegate.errors import TidegateError
from tidegate.logging import get_logger
from tidegate.ports import AdapterSlot

AdapterState = Literal["loading", "ready", "failed", "unloading"]
_DRAIN_POLL_SECONDS = 0.05
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 5.0, 60.0
_WARM_UP = (Message(role="user", content="hello"),)


@dataclass(frozen=True)
class AdapterStatus:
    """One adapter on one replica; `message` says why it failed."""

    slot: AdapterSlot
    state: AdapterState
    message: str = ""


class AdapterSet:
    """Brings the generator's adapters to what was declared last; one reconciliation at a time.

    Each adapter stands for itself: one that cannot be loaded is reported as failed, with the reason, and tried again
    with the next declaration and after a while; the others serve on.

    Args:
        loop: the engine's loop.
        fetch: adapter URI → local folder. Raises TidegateError.
        max_rank: columns of an adapter slot.
    """

    def __init__(self, loop: EngineLoop, *, fetch: Callable[[str], Path], max_rank: int) -> None:
        self._loop = loop
        self._fetch = fetch
        self._max_rank = max_rank
        self._status: dict[str, AdapterStatus] = {}
        self._wanted: dict[str, AdapterSlot] = {}
        self._lock = asyncio.Lock()
        self._again: asyncio.Task[None] | None = None

    @property
    def status(self) -> tuple[AdapterStatus, ...]:
        """Every adapter that is declared or still being unloaded."""
        return tuple(self._status.values())

    def serves(self, adapter: str) -> bool:
        """Whether requests may name the adapter: it is loaded and warmed, and not on its way out."""
        status = self._status.get(adapter)
        return status is not None and status.state == "ready"

    async def reconcile(self, wanted: Sequence[AdapterSlot]) -> None:
        """Unloads what is not wanted (when its requests have ended), then loads and warms what is missing."""
        self._wanted = {slot.id: slot for slot in wanted}
        await self._bring_about()
        if self._failed and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._try_again())

    @property
    def _failed(self) -> bool:
        return any(status.state == "failed" for status in self._status.values())

    async def _try_again(self) -> None:
        """A store that hiccuped when a replica started must not leave it without an adapter for good."""
        pause = _FIRST_RETRY_SECONDS
        while self._failed:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY_SECONDS)
            await self._bring_about()

    async def _bring_about(self) -> None:
        async with self._lock:
            target = dict(self._wanted)  # the latest declaration, whichever call waited for the lock
            gone = [s for s in self._status.values() if target.get(s.slot.id) != s.slot or s.state == "failed"]
            for status in gone:
                await self._unload(status)
            for slot in target.values():
                if slot.id not in self._status:
                    await self._load(slot)

    async def _load(self, slot: AdapterSlot) -> None:
        self._status[slot.id] = AdapterStatus(slot, "loading")
        try:
            folder = await asyncio.to_thread(self._fetch, slot.uri)
            weights = await asyncio.to_thread(read_adapter, folder, max_rank=self._max_rank, digest=slot.digest)
            await self._loop.call(lambda generator: generator.install(slot.id, weights))
            warm_up = GenerationRequest(adapter=slot.id, messages=_WARM_UP, max_tokens=1)
            async for _ in self._loop.stream(warm_up):
                pass
        except TidegateError as error:
            get_logger("engine").error("an adapter cannot be loaded", adapter=slot.id, uri=slot.uri, error=str(error))
            self._status[slot.id] = AdapterStatus(slot, "failed", str(error))
        else:
            self._status[slot.id] = AdapterStatus(slot, "ready")

    async def _unload(self, status: AdapterStatus) -> None:
        adapter = status.slot.id
        self._status[adapter] = AdapterStatus(status.slot, "unloading", status.message)
        while not await self._loop.call(lambda generator: _unload_when_idle(generator, adapter)):
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        del self._status[adapter]


def _unload_when_idle(generator: AdapterGenerator, adapter: str) -> bool:
    """True when the adapter is gone; an adapter that never got in is gone already."""
    if adapter not in generator.adapters:
        return True
    if generator.in_use(adapter):
        return False
    generator.unload(adapter)
    return True
