"""A job's folder in the artifact store: what is to be done, how far it is, how it ended, and who follows it.

    <artifacts_uri>/runs/<run>/jobs/<step>/spec.json
                                          /<attempt>/progress/000001.json …
                                          /<attempt>/follower.json   of a job elsewhere: its step
                                          /<attempt>/worker.json     of a job in a step's own pod: its run
                                          /<attempt>/outcome.json

The artifact store is the one place that a step's pod and its job's pods both reach whatever becomes of either: no
network path between them, no right to read logs, and it outlives both. An object store cannot append, so progress is
a row of small files; whoever follows asks for the next one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tidegate.adapters import storage
from tidegate.clock import Clock
from tidegate.domain.base import Contract, UtcTime
from tidegate.errors import Conflict, ContractBroken, NotFound, ResourceExhausted, TidegateError, Unavailable
from tidegate.ids import digest_json
from tidegate.ports import JobProgress, JobSpec
from tidegate.wire import error_from_dict, error_to_dict

_LINES: Final = TypeAdapter(list[JobProgress])
_MOST_ATTEMPTS: Final = 1000


class Outcome(Contract):
    """How an attempt ended."""

    state: Literal["succeeded", "failed"]
    time: UtcTime
    began: UtcTime | None = Field(default=None, description="when the work began")
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    transient: bool = Field(default=False, description="the same work tried again can succeed")

    @classmethod
    def of_error(cls, error: TidegateError, now: datetime, began: datetime | None = None) -> Outcome:
        return cls(state="failed", time=now, began=began, error=error_to_dict(error), transient=is_transient(error))

    def unwrap(self) -> dict[str, Any]:
        """The result.

        Raises:
            TidegateError: the job's own error.
        """
        if self.state == "failed":
            raise error_from_dict(self.error or {})
        return self.result or {}


class Follower(Contract):
    """Says that somebody waits for an attempt; `beat` changes as long as that is so."""

    beat: int
    leaving: bool = Field(default=False, description="the step was told to stop; its next pod may come back")


class Worker(Contract):
    """Says which run's step works on an attempt in its own pod; `beat` changes as long as it does."""

    run: str
    beat: int


def is_transient(error: TidegateError) -> bool:
    """Whether the infrastructure failed, or the work itself."""
    return isinstance(error, Unavailable | ResourceExhausted)


class JobFolder:
    """The folder of one key.

    Args:
        uri: see `folder_uri`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def claim(self, job: JobSpec) -> None:
        """Writes down what is to be done, or finds it written down.

        Raises:
            Conflict: the key belongs to other work.
        """
        known = self.spec()
        if known is None:
            if storage.create_text(storage.join(self.uri, "spec.json"), job.model_dump_json(indent=2)):
                return
            known = self.spec()
        if known is not None and digest(known) != digest(job):
            raise Conflict(
                f"job {job.key!r} exists with another entrypoint or payload ({self.uri})",
                next_step="Give the run another name; a name stands for one piece of work.",
            )

    def spec(self) -> JobSpec | None:
        text = self._read("spec.json")
        return JobSpec.model_validate_json(text) if text is not None else None

    def outcome(self, attempt: int) -> Outcome | None:
        text = self._read(f"{attempt}/outcome.json")
        try:
            return Outcome.model_validate_json(text) if text is not None else None
        except ValidationError as error:
            raise ContractBroken(
                f"{self.uri}/{attempt}/outcome.json cannot be read: {error.errors()[0]['msg']}",
                next_step="Run the step with the release that wrote it, or give the run another name.",
            ) from None

    def succeeded(self) -> Outcome | None:
        """The outcome of the attempt that succeeded."""
        for number in range(1, _MOST_ATTEMPTS):
            found = self.outcome(number)
            if found is None or found.state == "succeeded":
                return found
        return None

    def last(self) -> Outcome | None:
        """How the last attempt that has ended did."""
        found = None
        for number in range(1, _MOST_ATTEMPTS):
            if (outcome := self.outcome(number)) is None:
                break
            found = outcome
        return found

    def end(self, attempt: int, outcome: Outcome) -> bool:
        """Gives the attempt its outcome, unless it has one: others may have gone on with that. Whether it is this."""
        return storage.create_text(storage.join(self.uri, f"{attempt}/outcome.json"), outcome.model_dump_json())

    def attempt(self, clock: Clock, failure_kept_seconds: float) -> tuple[int, Outcome | None]:
        """The attempt that counts now, with its outcome.

        A failure of the infrastructure gives way to the next attempt; so does a final one, once it is old: somebody
        who asks again then has mended something.
        """
        for number in range(1, _MOST_ATTEMPTS):
            found = self.outcome(number)
            if found is None or found.state == "succeeded":
                return number, found
            age = (clock.now() - found.time).total_seconds()
            if not found.transient and age <= failure_kept_seconds:
                return number, found
        raise ResourceExhausted(
            f"the job in {self.uri} was tried {_MOST_ATTEMPTS} times", next_step="Give the run another name."
        )

    def say(self, attempt: int, part: int, lines: Sequence[JobProgress]) -> None:
        storage.write_bytes(storage.join(self.uri, _part(attempt, part)), _LINES.dump_json(list(lines)))

    def said(self, attempt: int, part: int) -> list[JobProgress] | None:
        """A part of the progress; None when it is not there yet."""
        text = self._read(_part(attempt, part))
        return _LINES.validate_json(text) if text is not None else None

    def parts(self, attempt: int) -> int:
        """How many parts of the progress are there."""
        number = 0
        while self._read(_part(attempt, number + 1)) is not None:
            number += 1
        return number

    def follow(self, attempt: int, follower: Follower) -> None:
        storage.write_text(storage.join(self.uri, f"{attempt}/follower.json"), follower.model_dump_json())

    def follower(self, attempt: int) -> Follower | None:
        text = self._read(f"{attempt}/follower.json")
        return Follower.model_validate_json(text) if text is not None else None

    def take(self, attempt: int, worker: Worker) -> Worker:
        """Takes an attempt for a worker, unless another has it; returns whose it is."""
        if storage.create_text(storage.join(self.uri, f"{attempt}/worker.json"), worker.model_dump_json()):
            return worker
        return self.worker(attempt) or worker

    def work(self, attempt: int, worker: Worker) -> None:
        storage.write_text(storage.join(self.uri, f"{attempt}/worker.json"), worker.model_dump_json())

    def worker(self, attempt: int) -> Worker | None:
        text = self._read(f"{attempt}/worker.json")
        return Worker.model_validate_json(text) if text is not None else None

    def _read(self, name: str) -> str | None:
        try:
            return storage.read_text(storage.join(self.uri, name))
        except NotFound:
            return None


def _part(attempt: int, part: int) -> str:
    return f"{attempt}/progress/{part:06d}.json"


def folder_uri(artifacts_uri: str, key: str) -> str:
    """The folder of a key '<run>/<step>'."""
    run, _, step = key.rpartition("/")
    return storage.join(artifacts_uri, "runs", *run.split("/"), "jobs", step)


def digest(job: JobSpec) -> str:
    """Of the work; the pool that it runs on is no part of it."""
    return digest_json(json.loads(json.dumps([job.entrypoint, job.payload])))
