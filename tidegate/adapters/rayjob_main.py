"""What a RayJob runs: `python -m tidegate.adapters.rayjob_main FOLDER ATTEMPT --reattach S --abandoned S --gpus N`.

It reads what is to be done, does it, and leaves progress and outcome in the job's folder. It ends itself when nobody
follows it any more: a run that was ended must not go on to train, and a step whose pod was lost must find its job
again. Both begin with a step that goes away, so the job waits for the step's next pod: `--reattach` seconds when the
step was told to stop, `--abandoned` seconds when it fell silent. `--gpus` are those reserved for the job, all pods
together: the work uses them or fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tidegate.adapters.job_folder import JobFolder, Outcome
from tidegate.adapters.job_table import JobTable
from tidegate.adapters.patience import insist
from tidegate.adapters.step_compute import show_tracebacks
from tidegate.attestation import load_key
from tidegate.clock import SystemClock
from tidegate.errors import InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.ports import JobProgress
from tidegate.settings import Settings, load_settings
from tidegate.wire import PROGRESS_MARK, error_from_dict

GPUS_VARIABLE: Final = "TIDEGATE_TRAINING__GPUS"
_LOOK_SECONDS: Final = 5.0
_WRITE_SECONDS: Final = 1.0
_ENDED: Final = 3
_GIVE: Final = (
    "The ConfigMap and the Secret of the pipelines have it; the pods of an existing RayCluster (training.cluster) are "
    "given both as docs/pipelines.md shows."
)


def main(argv: list[str]) -> int:
    """Exit status 0 after a success, else 1."""
    parser = argparse.ArgumentParser(prog="rayjob_main")
    parser.add_argument("folder")
    parser.add_argument("attempt", type=int)
    parser.add_argument("--reattach", type=float, required=True)
    parser.add_argument("--abandoned", type=float, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    given = parser.parse_args(argv)
    os.environ[GPUS_VARIABLE] = str(given.gpus)
    try:
        return _carry_out(
            JobFolder(given.folder), given.attempt, Watch(given.reattach, given.abandoned, time.monotonic)
        )
    except TidegateError as error:  # of the store itself, where it would have been written down: the log must tell
        print(f"error: {error}", flush=True)  # noqa: T201
        return 1


def _carry_out(folder: JobFolder, attempt: int, watch: Watch) -> int:
    if folder.outcome(attempt) is not None:
        return 0  # KubeRay started it again after it had ended
    said, done = Said(folder, attempt), threading.Event()
    watching = (folder, attempt, watch, done)
    threading.Thread(target=_end_when_abandoned, args=watching, name="follower", daemon=True).start()
    try:
        outcome = _work(folder, said, surroundings())
    except TidegateError as error:
        outcome = Outcome.of_error(error, SystemClock().now())
    if outcome.state == "failed":
        print(f"error: {error_from_dict(outcome.error or {})}", flush=True)  # noqa: T201 - the log of the Ray job

    def record() -> bool:
        said.write()
        return folder.end(attempt, outcome)  # what is on record counts: the step may have gone on with it

    done.set()
    insist(record)
    return 0 if outcome.state == "succeeded" else 1


def surroundings() -> Settings:
    """The settings of this pod, if it has what the work needs: hours of training are not for an evaluation that nobody
    could verify. Pods of a RayJob's own cluster have it all; those of an existing one have what they were given.

    Raises:
        Unavailable: the pipelines' environment or the attestation key is not there. Once it is, the next try goes on.
    """
    try:
        settings = load_settings()
    except InvalidInput as error:
        raise _lacking(error.problem) from None
    if settings.profile != "cluster":
        raise _lacking(f"TIDEGATE_PROFILE is {settings.profile!r}")
    try:
        load_key(settings.attestation_key_path)
    except InvalidInput as error:
        raise _lacking(error.problem) from None
    return settings


def _lacking(problem: str) -> Unavailable:
    return Unavailable(
        f"the Ray pod that was to do the work lacks what the pipelines' pods have: {problem}", next_step=_GIVE
    )


def _work(folder: JobFolder, said: Said, settings: Settings) -> Outcome:
    """Does it, with every line of progress written within a second, or once the store is back."""
    job, clock = folder.spec(), SystemClock()
    if job is None:
        raise NotFound(f"{folder.uri} has no spec.json", next_step="Start the step again.")
    began, logs = clock.now(), settings.logs / "jobs"
    table = JobTable(preload=(), logs=logs, clock=clock)
    table.submit(job)
    seen = 0
    while True:
        news = table.poll(job.key, seen)
        assert news is not None
        lines = [JobProgress.model_validate(line) for line in news["lines"]]
        seen += len(lines)
        said.add(lines)
        with suppress(TidegateError):  # a store that is away ends no work
            said.write()
        if news["state"] == "succeeded" and not lines:
            return Outcome(state="succeeded", time=clock.now(), began=began, result=news["result"])
        if news["state"] == "failed" and not lines:
            show_tracebacks(Path(logs))
            return Outcome.of_error(error_from_dict(news["error"]), clock.now(), began)
        time.sleep(_WRITE_SECONDS)


class Said:
    """The progress of an attempt, part by part. What could not be written waits in its order."""

    def __init__(self, folder: JobFolder, attempt: int) -> None:
        self._folder, self._attempt = folder, attempt
        self._part = folder.parts(attempt)  # of this attempt, before Kueue took its pods away and gave them again
        self._unwritten: deque[list[JobProgress]] = deque()

    def add(self, lines: Sequence[JobProgress]) -> None:
        """Tells the lines in the log, and keeps them for the folder."""
        for line in lines:
            print(f"{PROGRESS_MARK}{line.message}", flush=True)  # noqa: T201
        if lines:
            self._unwritten.append(list(lines))

    def write(self) -> None:
        """Writes what is not written.

        Raises:
            TidegateError: the store does not take it now.
        """
        while self._unwritten:
            self._folder.say(self._attempt, self._part + 1, self._unwritten[0])
            self._unwritten.popleft()
            self._part += 1


class Watch:
    """How long nobody has followed. Pure but for the clock, which is this machine's alone: clocks of pods differ.

    Args:
        reattach: patience after a follower said that it leaves.
        abandoned: patience with one that says nothing.
        now: monotonic seconds.
    """

    def __init__(self, reattach: float, abandoned: float, now: Callable[[], float]) -> None:
        self._reattach, self._abandoned, self._now = reattach, abandoned, now
        self._beat: tuple[int, bool] | None = None
        self._since = now()

    def look(self, beat: tuple[int, bool] | None) -> str | None:
        """Takes note of (beat, leaving) as it is now.

        Returns:
            Why the job must end; None while it may go on.
        """
        if beat != self._beat:
            self._beat, self._since = beat, self._now()
        leaving = self._beat is not None and self._beat[1]
        patience = self._reattach if leaving else self._abandoned
        silent = self._now() - self._since
        if silent < patience:
            return None
        if leaving:
            return f"the step was told to stop and did not come back within {patience:.0f} s"
        return f"no step has followed this job for {patience:.0f} s"


def _end_when_abandoned(folder: JobFolder, attempt: int, watch: Watch, done: threading.Event) -> None:
    """Ends this process when nobody follows it, or when its step has taken the attempt for failed and goes on."""
    while not done.wait(_LOOK_SECONDS):
        try:
            found, ended = folder.follower(attempt), folder.outcome(attempt)
        except TidegateError:
            continue  # a store that is away says nothing about the follower, and the watch goes on counting
        if ended is not None and not done.is_set():
            print("error: the step has taken this attempt for failed: the next one does the work", flush=True)  # noqa: T201
            os._exit(_ENDED)
        why = watch.look((found.beat, found.leaving) if found is not None else None)
        if why is not None and not done.is_set():
            error = Unavailable(f"the job ended itself: {why}", next_step="Start the run again.")
            print(f"error: {error}", flush=True)  # noqa: T201
            try:
                folder.end(attempt, Outcome.of_error(error, SystemClock().now()))
            finally:
                os._exit(_ENDED)  # the work is in another thread, which nothing else can end


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
