"""The end of the process: requests in flight get a last deadline, so that each ends with an answer or an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Drain:
    """Deadlines of the requests in flight, which `begin` brings forward. Used on the event loop only.

    Args:
        seconds: how long requests may take when the end has begun.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._open: set[asyncio.Timeout] = set()

    @property
    def begun(self) -> bool:
        return self._until is not None

    def begin(self) -> None:
        if self._until is not None:
            return
        self._until = asyncio.get_running_loop().time() + self._seconds
        for timeout in self._open:
            if not timeout.expired():
                timeout.reschedule(self._capped(timeout.when()))

    @asynccontextmanager
    async def limit(self, deadline: float) -> AsyncIterator[None]:
        """`asyncio.timeout_at(deadline)` that a drain may bring forward.

        Raises:
            TimeoutError: the deadline has passed.
        """
        async with asyncio.timeout_at(self._capped(deadline)) as timeout:
            self._open.add(timeout)
            try:
                yield
            finally:
                self._open.discard(timeout)

    def _capped(self, deadline: float | None) -> float | None:
        if self._until is None:
            return deadline
        return self._until if deadline is None else min(deadline, self._until)
