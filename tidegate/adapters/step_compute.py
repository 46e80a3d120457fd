"""Compute in the step's own process: for the data steps of a cluster, whose image has what they need.

The outcome is written to the job's folder, so that a step that is tried again after it had succeeded, or failed for
good, does nothing twice. Two runs of one name may come to one step at the same time: the first takes the attempt, the
other waits for its outcome, and both go on with it. Two pods of one run never work at a time, so the next pod of the
run that has the attempt goes on at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tidegate.adapters.job_folder import JobFolder, Outcome, Worker, folder_uri
from tidegate.adapters.job_table import JobTable
from tidegate.adapters.patience import insist
from tidegate.clock import Clock, SystemClock
from tidegate.environment import RUN_VARIABLE
from tidegate.errors import NotFound, TidegateError, Unavailable
from tidegate.ids import new_id
from tidegate.ports import JobProgress, JobSpec
from tidegate.settings import Settings
from tidegate.wire import error_from_dict

_BEAT_SECONDS: Final = 15.0
_SILENT_SECONDS: Final = 300.0
"""Twenty beats: a pod that missed them all is gone, or its storage is."""


class StepCompute:
    """The Compute port; one job after another, in a thread of this process.

    Args:
        run: whose step this is; by default what the environment says.
        silent_seconds: another run's step that says nothing for so long is taken for lost.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        run: str = "",
        silent_seconds: float = _SILENT_SECONDS,
    ) -> None:
        self._settings = settings
        self._run = run or os.environ.get(RUN_VARIABLE) or new_id()
        self._silent_seconds = silent_seconds
        self._clock = clock or SystemClock()
        self._logs = settings.logs / "jobs"
        self._table = JobTable(preload=(), logs=self._logs, clock=self._clock)
        self._attempts: dict[str, int] = {}
        self._began: dict[str, datetime] = {}
        self._elsewhere: set[str] = set()
        self._beaten = time.monotonic()

    def submit(self, job: JobSpec) -> None:
        """Begins the work, unless it has an outcome already or another run's step is at it.

        Raises:
            Conflict: the key belongs to other work.
            Unavailable: the artifact store does not answer.
        """
        folder = self._folder(job.key)
        folder.claim(job)
        number, outcome = folder.attempt(self._clock, self._settings.jobs.failure_kept_seconds)
        self._attempts[job.key] = number
        if outcome is not None:
            return
        if folder.take(number, self._worker()).run != self._run:
            self._elsewhere.add(job.key)
            return
        self._began[job.key] = self._clock.now()
        self._beat(folder, number)
        self._table.submit(job)

    def follow(self, key: str) -> Iterator[JobProgress]:
        """Progress until the job has ended; of one that had ended before, a line that says so."""
        number, folder = self._attempt(key), self._folder(key)
        if key in self._elsewhere:
            yield from self._wait(folder, number)
        seen = 0
        while (news := self._table.poll(key, seen)) is not None:
            yield from (JobProgress.model_validate(line) for line in news["lines"])
            seen += len(news["lines"])
            if time.monotonic() - self._beaten > _BEAT_SECONDS:
                self._beat(folder, number)
            if news["state"] in {"succeeded", "failed"} and not news["lines"]:
                self._record(key, number, news)
                return
        done = folder.outcome(number)
        if done is not None:
            yield JobProgress(time=self._clock.now(), message=f"attempt {number} {done.state} at {done.time:%H:%M:%S}")

    def result(self, key: str) -> dict[str, Any]:
        """The result.

        Raises:
            TidegateError: the job's own error.
            NotFound: nobody submitted it.
        """
        number = self._attempt(key)
        if (done := self._folder(key).outcome(number)) is None:
            for _ in self.follow(key):
                pass
            done = self._folder(key).outcome(number)
        if done is None:
            raise NotFound(f"job {key!r} has no outcome", next_step="Submit it first.")
        return done.unwrap()

    def _record(self, key: str, number: int, news: dict[str, Any]) -> None:
        now, began = self._clock.now(), self._began.get(key)
        if news["state"] == "succeeded":
            outcome = Outcome(state="succeeded", time=now, began=began, result=news["result"])
        else:
            outcome = Outcome.of_error(error_from_dict(news["error"]), now, began)
            show_tracebacks(self._logs)
        insist(lambda: self._folder(key).end(number, outcome))  # what is on record counts: others go on with it

    def _wait(self, folder: JobFolder, number: int) -> Iterator[JobProgress]:
        """For the outcome of another run's step; one that falls silent has failed for the moment."""
        seen: Worker | None = None
        since = time.monotonic()
        while folder.outcome(number) is None:
            found = folder.worker(number)
            if seen is None and found is not None:
                told = f"run {found.run} has the same name and works on this step; this one waits for its outcome"
                yield JobProgress(time=self._clock.now(), message=told)
            if found != seen:
                seen, since = found, time.monotonic()
            elif time.monotonic() - since > self._silent_seconds:
                error = Unavailable(
                    f"run {seen.run if seen else '?'} worked on this step and has been silent for "
                    f"{self._silent_seconds:.0f} s",
                    next_step="The step's next try works on it.",
                )
                folder.end(number, Outcome.of_error(error, self._clock.now()))
            time.sleep(self._settings.jobs.poll_seconds)

    def _beat(self, folder: JobFolder, number: int) -> None:
        self._beaten = time.monotonic()
        with suppress(TidegateError):  # a store that is away for a moment ends no work
            folder.work(number, self._worker())

    def _worker(self) -> Worker:
        return Worker(run=self._run, beat=time.time_ns())

    def _folder(self, key: str) -> JobFolder:
        return JobFolder(folder_uri(self._settings.artifacts_uri, key))

    def _attempt(self, key: str) -> int:
        if key not in self._attempts:
            raise NotFound(f"nobody submitted job {key!r} here", next_step="Submit it first.")
        return self._attempts[key]


def show_tracebacks(logs: Path) -> None:
    """A pod's files go with it, and its log stays: tracebacks belong into the log."""
    for path in sorted(logs.glob("*.log")):
        print(path.read_text(encoding="utf-8"), file=sys.stderr, flush=True)  # noqa: T201
