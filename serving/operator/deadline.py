"""Calls that must not hold the judging thread: a database that is frozen with its connections open never answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tidegate.errors import Unavailable

_T = TypeVar("_T")
_Job = tuple[Callable[[], Any], "queue.Queue[tuple[bool, Any]]"]


class Deadline:
    """Runs calls one after another on a thread of its own, and waits for each no longer than it may take.

    While one is overdue no other is begun: what it works on is not touched twice at a time.

    Args:
        seconds: how long a call may take.
        what: what is called, for the message.
    """

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._jobs: queue.Queue[_Job] = queue.Queue()
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, call: Callable[[], _T]) -> _T:
        """The call's result, or its error.

        Raises:
            Unavailable: it takes too long, or the one before still does.
        """
        if self._busy.is_set():
            raise self._overdue()
        if self._thread is None:  # not before the first call: a forked process has none of its parent's threads
            self._thread = threading.Thread(target=self._work, name="deadline", daemon=True)
            self._thread.start()
        answer: queue.Queue[tuple[bool, Any]] = queue.Queue()
        self._busy.set()
        self._jobs.put((call, answer))
        try:
            done, result = answer.get(timeout=self._seconds)
        except queue.Empty:
            raise self._overdue() from None
        if not done:
            raise result
        found: _T = result
        return found

    def _work(self) -> None:
        while True:
            call, answer = self._jobs.get()
            try:
                found: tuple[bool, Any] = (True, call())
            except BaseException as error:
                found = (False, error)
            self._busy.clear()
            answer.put(found)

    def _overdue(self) -> Unavailable:
        return Unavailable(
            f"{self._what} has not answered for {self._seconds:g} s", next_step="Check that it runs and is reachable."
        )
