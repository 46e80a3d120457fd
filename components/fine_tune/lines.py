"""Lines of progress on their way from a training worker to whoever follows the job, through an actor of Ray.

The worker that reports may run on any of the job's machines, and they share no file. Nothing heavy is imported: the
actor is a process of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from tidegate.ports import Progress

_LOOK_SECONDS = 0.2

Line = tuple[str, dict[str, float]]


@contextmanager
def gathered(progress: Progress) -> Iterator[Progress]:
    """What a worker calls to report, from wherever it runs; `progress` is called here, in a thread."""
    if not ray.is_initialized():
        ray.init()
    lines = ray.remote(num_cpus=0)(_Lines).remote()
    ended = threading.Event()
    reader = threading.Thread(target=_hand_on, args=(lines, progress, ended), daemon=True)
    reader.start()
    try:
        yield _Report(lines)
    finally:
        ended.set()
        reader.join()
        ray.kill(lines)


class _Lines:
    """The actor: lines that were reported and not taken yet."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def add(self, message: str, numbers: dict[str, float]) -> None:
        self._lines.append((message, numbers))

    def take(self) -> list[Line]:
        lines, self._lines = self._lines, []
        return lines


@dataclass(frozen=True)
class _Report:
    """A worker's end."""

    lines: Any

    def __call__(self, message: str, numbers: Mapping[str, float]) -> None:
        ray.get(self.lines.add.remote(message, dict(numbers)))  # a worker that ends leaves no line on its way


def _hand_on(lines: Any, progress: Progress, ended: threading.Event) -> None:
    while True:
        last = ended.is_set()  # before asking: what was reported until now is asked for once more
        try:
            told = ray.get(lines.take.remote())
        except ray.exceptions.RayError:
            return  # the machine that held it is gone; the trainer says what that means
        for message, numbers in told:
            progress(message, numbers)
        if last:
            return
        ended.wait(_LOOK_SECONDS)
