"""Keeps engines as they are wanted, in the background: an engine that takes its time never delays a rollback."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.controller.conditions import bounded
from tidegate.errors import NotFound, TidegateError
from tidegate.logging import get_logger
from tidegate.ports import AdapterSlot, Engines, EngineStatus

_log = get_logger(__name__)
_NOT_DECLARED = EngineStatus(
    ready=False, url="", adapters=(), replicas_ready=0, replicas_wanted=0, message="the engine is not declared yet"
)


@dataclass(frozen=True, slots=True)
class EngineReport:
    """An engine's status, None while it does not answer, and what went wrong at the last poll.

    Attributes:
        spec: what the engine had been told when it was asked; None where this process has not told it anything.
    """

    status: EngineStatus | None
    trouble: str | None
    spec: Mapping[str, Any] | None = None


UNASKED = EngineReport(None, "the engine has not been asked yet")


@dataclass(frozen=True, slots=True)
class _Wanted:
    spec: Mapping[str, Any]
    adapters: tuple[AdapterSlot, ...]


class EngineKeeper:
    """Drives each runtime's engine towards what was wanted last.

    Args:
        always: declare at every poll what is wanted, where that costs nothing when it is so already: then what others
            changed is put right.
    """

    def __init__(self, engines: Engines, *, always: bool = False) -> None:
        self._engines = engines
        self._always = always
        self._generation = 0
        self._lock = threading.Lock()
        self._wanted: dict[str, _Wanted] = {}
        self._reports: dict[str, EngineReport] = {}
        self._unwanted: set[str] = set()
        self._ensured: dict[str, _Wanted] = {}
        self._busy: set[str] = set()

    def want(self, runtime: str, spec: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> None:
        """The engine that a runtime shall have from the next poll on."""
        with self._lock:
            self._wanted[runtime] = _Wanted(spec, tuple(adapters))
            self._unwanted.discard(runtime)

    def drop(self, runtime: str) -> None:
        """The runtime is gone: its engine is removed at the next poll."""
        with self._lock:
            self._wanted.pop(runtime, None)
            self._reports.pop(runtime, None)
            self._unwanted.add(runtime)

    def gone(self, runtime: str) -> bool:
        """Whether an engine that was dropped is removed."""
        with self._lock:
            return runtime not in self._unwanted

    def reassert(self) -> None:
        """Forgets what was wanted: another controller may have wanted something else since. What comes next counts."""
        with self._lock:
            self._generation += 1
            self._wanted.clear()
            self._unwanted.clear()
            self._ensured.clear()

    def report(self, runtime: str) -> EngineReport:
        with self._lock:
            return self._reports.get(runtime, UNASKED)

    def look(self, runtime: str) -> None:
        """Lets the next poll ask for this runtime, also before anything is wanted of it."""
        with self._lock:
            self._reports.setdefault(runtime, UNASKED)

    def poll(self) -> None:
        """Removes, declares and asks, and waits for all of it. Never raises: trouble is a report."""
        for thread in self._begin():
            thread.join()

    def run(self, stop: threading.Event, seconds: float) -> None:
        """Polls until stopped. An engine that takes its time keeps no other waiting."""
        while not stop.is_set():
            self._begin()
            stop.wait(seconds)

    def _begin(self) -> list[threading.Thread]:
        """A thread for each engine but those that still are at it since the last poll."""
        with self._lock:
            idle = (set(self._reports) | set(self._wanted) | self._unwanted) - self._busy
            self._busy |= idle
        threads = [
            threading.Thread(target=self._attend, args=(runtime,), daemon=True, name=f"engine {runtime}")
            for runtime in sorted(idle)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _attend(self, runtime: str) -> None:
        try:
            with self._lock:
                wanted, generation = self._wanted.get(runtime), self._generation
                unwanted = runtime in self._unwanted
            if unwanted:
                self._remove(runtime)
                return
            report = self._drive(runtime, wanted, generation)
            with self._lock:
                if runtime not in self._unwanted:
                    self._reports[runtime] = report
        finally:
            with self._lock:
                self._busy.discard(runtime)

    def _drive(self, runtime: str, wanted: _Wanted | None, generation: int) -> EngineReport:
        status: EngineStatus | None = None
        trouble: str | None = None
        try:
            status = self._status(runtime)
            news = self._always or self._ensured.get(runtime) != wanted or status is _NOT_DECLARED
            if wanted is not None and news and generation == self._generation:
                self._engines.ensure(runtime, wanted.spec, wanted.adapters)
                with self._lock:
                    if generation == self._generation:
                        self._ensured[runtime] = wanted
                status = None  # what it said before it was told
                status = self._status(runtime)
        except TidegateError as error:
            trouble = bounded(str(error))
        except Exception as error:
            _log.exception("the engine's answer is not understood", runtime=runtime)
            trouble = bounded(f"the engine of {runtime} gave an answer that is not understood: {error}")
        with self._lock:
            told = self._ensured.get(runtime)
        return EngineReport(status, trouble, told.spec if told is not None else None)

    def _status(self, runtime: str) -> EngineStatus:
        try:
            return self._engines.status(runtime)
        except NotFound:
            return _NOT_DECLARED

    def _remove(self, runtime: str) -> None:
        try:
            self._engines.remove(runtime)
        except Exception as error:
            _log.warning("engine cannot be removed", runtime=runtime, error=str(error))
            return
        with self._lock:
            self._ensured.pop(runtime, None)
            self._unwanted.discard(runtime)
