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
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tidegate.adapters.job_folder import JobFolder, Outcome
from tidegate.adapters.job_table import JobTable
from tidegate.adapters.step_compute import show_tracebacks
from tidegate.clock import SystemClock
from tidegate.errors import NotFound, TidegateError, Unavailable
from tidegate.ports import JobProgress
from tidegate.settings import load_settings
from tidegate.wire import PROGRESS_MARK, error_from_dict

GPUS_VARIABLE: Final = "TIDEGATE_TRAINING__GPUS"
_LOOK_SECONDS: Final = 5.0
_WRITE_SECONDS: Final = 1.0
_ENDED: Final = 3


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
    folder, clock = JobFolder(given.folder), SystemClock()
    if folder.outcome(given.attempt) is not None:
        return 0  # KubeRay started it again after it had ended
    watch = Watch(given.reattach, given.abandoned, time.monotonic)
    threading.Thread(
        target=_end_when_abandoned, args=(folder, given.attempt, watch), name="follower", daemon=True
    ).start()
    try:
        outcome = _work(folder, given.attempt)
    except TidegateError as error:
        outcome = Outcome.of_error(error, clock.now())
    folder.end(given.attempt, outcome)
    if outcome.state == "failed":
        print(f"error: {error_from_dict(outcome.error or {})}", flush=True)  # noqa: T201 - the log of the Ray job
    return 0 if outcome.state == "succeeded" else 1


def _work(folder: JobFolder, attempt: int) -> Outcome:
    """Does it, with every line of progress written within a second."""
    job, clock = folder.spec(), SystemClock()
    if job is None:
        raise NotFound(f"{folder.uri} has no spec.json", next_step="Start the step again.")
    began, logs = clock.now(), load_settings().logs / "jobs"
    table = JobTable(preload=(), logs=logs, clock=clock)
    table.submit(job)
    seen, part = 0, 0
    while True:
        news = table.poll(job.key, seen)
        assert news is not None
        lines = [JobProgress.model_validate(line) for line in news["lines"]]
        for line in lines:
            print(f"{PROGRESS_MARK}{line.message}", flush=True)  # noqa: T201
        if lines:
            part += 1
            folder.say(attempt, part, lines)
            seen += len(lines)
        if news["state"] == "succeeded" and not lines:
            return Outcome(state="succeeded", time=clock.now(), began=began, result=news["result"])
        if news["state"] == "failed" and not lines:
            show_tracebacks(Path(logs))
            return Outcome.of_error(error_from_dict(news["error"]), clock.now(), began)
        time.sleep(_WRITE_SECONDS)


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


def _end_when_abandoned(folder: JobFolder, attempt: int, watch: Watch) -> None:
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            found = folder.follower(attempt)
        except TidegateError:
            continue  # a store that is away says nothing about the follower, and the watch goes on counting
        why = watch.look((found.beat, found.leaving) if found is not None else None)
        if why is not None:
            error = Unavailable(f"the job ended itself: {why}", next_step="Start the run again.")
            print(f"error: {error}", flush=True)  # noqa: T201
            try:
                if folder.outcome(attempt) is None:
                    folder.end(attempt, Outcome.of_error(error, SystemClock().now()))
            finally:
                os._exit(_ENDED)  # the work is in another thread, which nothing else can end


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
