"""An adapter that cannot be fetched is tried again without being declared again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from serving.engines import adapter_set
from serving.engines.adapter_set import AdapterSet
from tidegate.errors import Unavailable
from tidegate.ports import AdapterSlot

SLOT = AdapterSlot(id="banking-intent/7", uri="s3://models/7", digest="sha256:" + "a" * 64, rank=8)


class Loop:
    """An engine's loop without an engine: what is tested is when an adapter is tried again."""

    async def call(self, _: Callable[[Any], Any]) -> bool:
        return True

    async def stream(self, _: Any) -> AsyncIterator[None]:
        return
        yield


async def test_a_store_that_hiccups_leaves_no_replica_without_its_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_set, "read_adapter", lambda *_, **__: None)
    monkeypatch.setattr(adapter_set, "_FIRST_RETRY_SECONDS", 0.01)
    tries = 0

    def fetch(_: str) -> Path:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("the object store does not answer")
        return Path()

    made = AdapterSet(Loop(), fetch=fetch, max_rank=8)  # type: ignore[arg-type]
    await made.reconcile([SLOT])
    assert [(status.state, status.message) for status in made.status] == [
        ("failed", "the object store does not answer")
    ]
    for _ in range(200):
        if made.serves(SLOT.id):
            break
        await asyncio.sleep(0.01)
    assert made.serves(SLOT.id)
    assert tries == 3
