"""The jobs of one warm worker: run one after another in a thread, kept by key, followed from the beginning.

Plain Python: the Ray actor around it only carries calls.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import queue
import re
import threading
import traceback
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tidegate.clock import Clock
from tidegate.errors import Conflict, InvalidInput, ResourceExhausted, TidegateError, is_no_room
from tidegate.ids import digest_json
from tidegate.ports import JobProgress, JobSpec
from tidegate.wire import error_to_dict

JobState = Literal["queued", "running", "succeeded", "failed"]
_KEPT_JOBS = 64
_KEPT_LINES = 10_000
_NO_MORE = f"{_KEPT_LINES} lines of progress were told; the work goes on, and its further ones are left out"
_WAIT_SECONDS = 1.0


@dataclass(kw_only=True)
class _Job:
    spec: JobSpec
    digest: str
    state: JobState = "queued"
    lines: list[JobProgress] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None

    @property
    def ended(self) -> bool:
        return self.state in {"succeeded", "failed"}


class JobTable:
    """Runs the jobs of one pool.

    Args:
        preload: modules that are imported while nothing is asked; the import of a training stack takes 10 s and more.
        logs: folder where tracebacks of unexpected errors go, one file a job.
    """

    def __init__(self, *, preload: Sequence[str], logs: Path, clock: Clock) -> None:
        self._preload = tuple(preload)
        self._logs = logs
        self._clock = clock
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._queue: queue.Queue[_Job] = queue.Queue()
        self._changed = threading.Condition()
        self._missing: dict[str, str] = {}
        self._warm = False
        threading.Thread(target=self._work, name="jobs", daemon=True).start()

    def submit(self, spec: JobSpec) -> None:
        """Queues a job. A key that is queued, running or has succeeded is re-attached to; a failed one runs again.

        Raises:
            Conflict: the key belongs to another piece of work.
        """
        digest = digest_json([spec.entrypoint, spec.payload])
        with self._changed:
            known = self._jobs.get(spec.key)
            if known is not None and known.digest != digest:
                raise Conflict(
                    f"job {spec.key!r} exists with another entrypoint or payload",
                    next_step="Use a new key for new work; a key names one piece of work.",
                )
            if known is not None and known.state != "failed":
                return
            job = _Job(spec=spec, digest=digest)
            self._jobs[spec.key] = job
            self._jobs.move_to_end(spec.key)
            self._forget_oldest()
        self._queue.put(job)

    def poll(self, key: str, after: int) -> dict[str, Any] | None:
        """State, lines from number `after` on, and, at the end, result or error. None for an unknown key.

        Waits up to a second for news, so that a caller may call it in a loop.
        """
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                return None
            self._changed.wait_for(lambda: job.ended or len(job.lines) > after, timeout=_WAIT_SECONDS)
            return {
                "state": job.state,
                "lines": [line.model_dump(mode="json") for line in job.lines[after:]],
                "result": job.result,
                "error": job.error,
            }

    def status(self) -> dict[str, Any]:
        """Whether the preload is done, what of it failed, and how many jobs wait or run."""
        with self._changed:
            active = [job.spec.key for job in self._jobs.values() if not job.ended]
            return {"warm": self._warm, "missing": dict(self._missing), "active": active}

    def _forget_oldest(self) -> None:
        ended = [key for key, job in self._jobs.items() if job.ended]
        for key in ended[: max(0, len(self._jobs) - _KEPT_JOBS)]:
            del self._jobs[key]

    def _work(self) -> None:
        for module in self._preload:
            while not self._queue.empty():  # a job needs a part of the imports at most, and makes those itself
                self._run(self._queue.get())
            try:
                importlib.import_module(module)
            except Exception as error:  # a role without this extra still runs the jobs that do not need it
                self._missing[module] = f"{type(error).__name__}: {error}"
        with self._changed:
            self._warm = True
            self._changed.notify_all()
        while True:
            self._run(self._queue.get())

    def _run(self, job: _Job) -> None:
        def progress(message: str, numbers: Mapping[str, float] | None = None) -> None:
            line = JobProgress(time=self._clock.now(), message=message, numbers=dict(numbers or {}))
            with self._changed:
                if len(job.lines) < _KEPT_LINES:
                    job.lines.append(line)
                elif len(job.lines) == _KEPT_LINES:
                    job.lines.append(line.model_copy(update={"message": _NO_MORE, "numbers": {}}))
                self._changed.notify_all()

        with self._changed:
            job.state = "running"
        try:
            result = json.loads(
                json.dumps(dict(_resolve(job.spec.entrypoint)(job.spec.payload, progress)), allow_nan=False)
            )
        except BaseException as error:  # SystemExit of a library must not end the worker's thread
            explained = self._explain(job.spec, error)
            with self._changed:
                job.error, job.state = error_to_dict(explained), "failed"
                self._changed.notify_all()
        else:
            with self._changed:
                job.result, job.state = result, "succeeded"
                self._changed.notify_all()

    def _explain(self, spec: JobSpec, error: BaseException) -> TidegateError:
        if isinstance(error, TidegateError):
            return error
        log = self._logs / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', spec.key)[:120]}.log"
        with contextlib.suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        cause = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}" if str(error) else type(error).__name__
        if isinstance(error, MemoryError) or is_no_room(error):
            return ResourceExhausted(f"job {spec.key!r} ran out of room ({cause})", next_step=f"Free some; see {log}.")
        return TidegateError(f"job {spec.key!r} failed: {cause}", next_step=f"The traceback is in {log}.")


def _resolve(entrypoint: str) -> Any:
    module, _, name = entrypoint.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(
            f"job entrypoint {entrypoint!r} cannot be loaded ({error})",
            next_step="Write it as package.module:function.",
        ) from error
