"""Compute in the step's own process: for the data steps of a cluster, whose image has what they need.

The outcome is written to the job's folder, so that a step that is tried again after it had succeeded, or failed for
good, does nothing twice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tidegate.adapters.job_folder import JobFolder, Outcome, folder_uri
from tidegate.adapters.job_table import JobTable
from tidegate.clock import Clock, SystemClock
from tidegate.errors import NotFound
from tidegate.ports import JobProgress, JobSpec
from tidegate.settings import Settings
from tidegate.wire import error_from_dict


class StepCompute:
    """The Compute port; one job after another, in a thread of this process."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._logs = settings.logs / "jobs"
        self._table = JobTable(preload=(), logs=self._logs, clock=self._clock)
        self._attempts: dict[str, int] = {}
        self._began: dict[str, datetime] = {}

    def submit(self, job: JobSpec) -> None:
        """Begins the work, unless it has an outcome already.

        Raises:
            Conflict: the key belongs to other work.
            Unavailable: the artifact store does not answer.
        """
        folder = self._folder(job.key)
        folder.claim(job)
        number, outcome = folder.attempt(self._clock, self._settings.jobs.failure_kept_seconds)
        self._attempts[job.key] = number
        if outcome is None:
            self._began[job.key] = self._clock.now()
            self._table.submit(job)

    def follow(self, key: str) -> Iterator[JobProgress]:
        """Progress until the job has ended; of one that had ended before, a line that says so."""
        number = self._attempt(key)
        seen = 0
        while (news := self._table.poll(key, seen)) is not None:
            yield from (JobProgress.model_validate(line) for line in news["lines"])
            seen += len(news["lines"])
            if news["state"] in {"succeeded", "failed"} and not news["lines"]:
                self._record(key, number, news)
                return
        done = self._folder(key).outcome(number)
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
        self._folder(key).end(number, outcome)

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
