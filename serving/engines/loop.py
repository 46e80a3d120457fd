"""The engine's loop: one thread that owns the generator, and the asyncio side that feeds it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from serving.engines.generator import AdapterGenerator
from serving.engines.requests import Delta, GenerationRequest
from tidegate.errors import ResourceExhausted, TidegateError, Unavailable
from tidegate.logging import get_logger

T = TypeVar("T")


class QueueFull(ResourceExhausted):
    """More requests wait than the engine promises to serve."""


class EngineFailed(Unavailable):
    """A forward pass failed. Requests that were under way end with this error; the replica reports itself unhealthy."""


@dataclass(eq=False)
class _Job:
    """A request with its way back to the event loop that waits for it."""

    request: GenerationRequest
    loop: asyncio.AbstractEventLoop
    out: asyncio.Queue[Delta | TidegateError] = field(default_factory=asyncio.Queue)
    row: int | None = None
    cancelled: bool = False

    def tell(self, item: Delta | TidegateError) -> None:
        with contextlib.suppress(RuntimeError):  # the waiting loop is closed already
            self.loop.call_soon_threadsafe(self.out.put_nowait, item)


class EngineLoop:
    """Runs a generator in a thread of its own; requests join and leave between two of its steps.

    Args:
        generator: from now on touched by the loop's thread only.
        max_queue: requests that may wait for a place in the batch.
    """

    def __init__(self, generator: AdapterGenerator, *, max_queue: int) -> None:
        self._generator = generator
        self._limit = generator.max_batch_size + max_queue
        self._jobs: set[_Job] = set()
        self._by_row: dict[int, _Job] = {}
        self._inbox: deque[_Job] = deque()
        self._calls: deque[Callable[[TidegateError | None], None]] = deque()
        self._wake = threading.Condition()
        self._failure: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why the loop can no longer be trusted; None while all is well."""
        if self._failure is None and not self._thread.is_alive() and not self._stopping:
            return "the engine's thread died"
        return self._failure

    @property
    def load(self) -> int:
        """Requests running and waiting."""
        return len(self._jobs)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta]:
        """The answer, piece by piece. Leaving the iteration early frees the row.

        Raises:
            QueueFull: before anything was computed.
            TidegateError: what `AdapterGenerator.add` refuses.
            EngineFailed: at any time.
        """
        job = self._accept(request)
        try:
            while True:
                item = await job.out.get()
                if isinstance(item, TidegateError):
                    raise item
                yield item
                if item.result is not None:
                    return
        finally:
            self._release(job)

    async def call(self, work: Callable[[AdapterGenerator], T]) -> T:
        """Runs `work` on the generator between two steps and returns what it returns."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run(ended: TidegateError | None) -> None:
            if ended is not None:
                _settle(loop, done, partial(done.set_exception, ended))
                return
            try:
                result = work(self._generator)
            except Exception as error:  # it belongs to the caller, wherever it came from
                _settle(loop, done, partial(done.set_exception, error))
            else:
                _settle(loop, done, partial(done.set_result, result))

        with self._wake:
            self._check()
            self._calls.append(run)
            self._wake.notify()
        return await done

    def stop(self) -> None:
        """Ends the thread; requests under way end with an error."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    # --- the asyncio side ---------------------------------------------------------------------------------------

    def _accept(self, request: GenerationRequest) -> _Job:
        job = _Job(request, asyncio.get_running_loop())
        with self._wake:
            self._check()
            if len(self._jobs) >= self._limit:
                raise QueueFull(f"{len(self._jobs)} requests are under way", next_step="Try again in a second.")
            self._jobs.add(job)
            self._inbox.append(job)
            self._wake.notify()
        return job

    def _release(self, job: _Job) -> None:
        with self._wake:
            job.cancelled = True
            self._jobs.discard(job)
            self._wake.notify()

    def _check(self) -> None:
        if (failure := self.failure) is not None:
            raise EngineFailed(failure, next_step="The replica is being replaced; try again.")
        if self._stopping:
            raise EngineFailed("the engine is shutting down", next_step="Try again.")

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._next():
                for delta in self._generator.step():
                    job = self._by_row[delta.row]
                    job.tell(delta)
                    if delta.result is not None:
                        del self._by_row[delta.row]
        except Exception as error:  # whatever a forward pass raises must reach those who wait
            get_logger("engine").exception("a forward pass failed")
            self._failure = f"a forward pass failed: {type(error).__name__}: {error}"
        with self._wake:
            self._stopping = self._stopping or self._failure is None
            jobs, calls = list(self._jobs), list(self._calls)
            self._calls.clear()
        ended = EngineFailed(self._failure or "the engine is shutting down", next_step="Try again.")
        for job in jobs:
            job.tell(ended)
        for call in calls:
            call(ended)

    def _next(self) -> bool:
        """Takes in what happened since the last step; waits when there is nothing to do. False at the end."""
        with self._wake:
            while not (self._stopping or self._inbox or self._calls or self._generator.busy):
                self._wake.wait()
            if self._stopping:
                return False
            calls, arrived = list(self._calls), list(self._inbox)
            self._calls.clear()
            self._inbox.clear()
            gone = [row for row, job in self._by_row.items() if job.cancelled]
        for row in gone:
            self._generator.cancel(row)
            del self._by_row[row]
        for call in calls:
            call(None)
        for job in arrived:
            self._join(job)
        return True

    def _join(self, job: _Job) -> None:
        if job.cancelled:
            return
        try:
            job.row = self._generator.add(job.request)
        except TidegateError as error:
            job.tell(error)
        else:
            self._by_row[job.row] = job


def _settle(loop: asyncio.AbstractEventLoop, done: asyncio.Future[T], act: Callable[[], None]) -> None:
    def settle() -> None:
        if not done.done():
            act()

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)
