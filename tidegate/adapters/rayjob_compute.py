"""Compute on KubeRay: a job is a RayJob, named after its key, followed through the artifact store.

What is told to stop and what is lost look alike to a step: both begin with SIGTERM or with nothing. So a step never
ends its RayJob when it goes; it says that it leaves, and the job waits for the step's next pod before it ends itself
(`tidegate.adapters.rayjob_main`). A lost pod costs no second training, and an ended run stops paying soon.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, Self

from tidegate.adapters.job_folder import Follower, JobFolder, Outcome, folder_uri
from tidegate.adapters.kube.api import KubeApi, NotThere
from tidegate.adapters.kube.kinds import Object
from tidegate.adapters.patience import AWAY_SECONDS
from tidegate.adapters.rayjob_manifest import DIGEST, RAY_JOB, JobSite, rayjob, rayjob_name
from tidegate.adapters.rayjob_view import RayJobView
from tidegate.clock import Clock, SystemClock
from tidegate.domain.node_pools import read_node_pools
from tidegate.errors import Conflict, NotFound, TidegateError, Unavailable
from tidegate.ports import JobProgress, JobSpec
from tidegate.settings import Settings

_BEAT_SECONDS: Final = 15.0
_TERMINATED: Final = 128 + signal.SIGTERM


class RayJobCompute:
    """The Compute port.

    Args:
        api: the namespace of the RayJobs.
        settings: `jobs`, and where artifacts are.
        site: what the platform adds to a job.
    """

    def __init__(self, api: KubeApi, settings: Settings, site: JobSite, clock: Clock | None = None) -> None:
        self._api = api
        self._settings = settings
        self._site = site
        self._clock = clock or SystemClock()
        self._attempts: dict[str, int] = {}

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The API server of this pod, and its namespace.

        Raises:
            InvalidInput: no service account, or the node pools cannot be read.
        """
        # RayJobs live where the run's pods do; `cluster.namespace` is where the platform's resources are.
        path = settings.cluster.node_pools_path
        pools = read_node_pools(path) if path is not None and path.exists() else {}
        api = KubeApi.connect(seconds=settings.cluster.request_timeout)
        return cls(api, settings, JobSite(jobs=settings.jobs, cluster=settings.cluster, pools=pools))

    def submit(self, job: JobSpec) -> None:
        """Creates the RayJob of the attempt that counts, or finds it there.

        Raises:
            Conflict: the key belongs to other work, or somebody deleted the RayJob a short while ago.
            NotFound: the cluster has no KubeRay.
            InvalidInput: no such node pool, or the API server refuses the RayJob.
            Denied: the step's service account may not create one.
        """
        folder = self._folder(job.key)
        folder.claim(job)
        number, outcome = folder.attempt(self._clock, self._settings.jobs.failure_kept_seconds)
        self._attempts[job.key] = number
        if outcome is not None:
            return
        body = rayjob(job, number, folder.uri, self._site)
        try:
            self._create(body)
        except NotThere:
            raise NotFound(
                f"namespace {self._api.namespace!r} of this cluster takes no RayJobs of {RAY_JOB.version}",
                next_step="Install KubeRay (v1.6 or v1.7), or set training.runner: step in the site file.",
            ) from None

    def follow(self, key: str) -> Iterator[JobProgress]:
        """Progress from the beginning, until the attempt has an outcome. What delays it is told, too.

        Raises:
            Unavailable: the API server or the artifact store stays away.
        """
        number, folder = self._attempt(key), self._folder(key)
        view = RayJobView(self._api, rayjob_name(key, number), self._settings.jobs.pending_seconds)
        with _following(folder, number):
            part, away_since = 1, 0.0
            while True:
                try:
                    while (lines := folder.said(number, part)) is not None:
                        yield from lines
                        part += 1
                    outcome = folder.outcome(number)
                    if outcome is None:
                        sentences, ended = view.look()
                        for sentence in sentences:
                            yield JobProgress(time=self._clock.now(), message=sentence)
                        if ended is not None and folder.end(number, Outcome.of_error(ended, self._clock.now())):
                            self._forget(key, number)
                        outcome = folder.outcome(number) if ended is not None else None
                    away_since = 0.0
                except Unavailable:
                    away_since = away_since or time.monotonic()
                    if time.monotonic() - away_since > AWAY_SECONDS:
                        raise
                    outcome = None
                if outcome is not None:
                    while (lines := folder.said(number, part)) is not None:
                        yield from lines
                        part += 1
                    return
                time.sleep(self._settings.jobs.poll_seconds)

    def result(self, key: str) -> dict[str, Any]:
        """The result; the RayJobs of this work are deleted when it succeeded.

        Raises:
            TidegateError: the job's own error.
            Unavailable: its pods were lost.
        """
        number, folder = self._attempt(key), self._folder(key)
        if folder.outcome(number) is None:
            for _ in self.follow(key):
                pass
        outcome = folder.outcome(number)
        if outcome is None:
            raise NotFound(f"job {key!r} has no outcome", next_step="Submit it first.")
        if outcome.state == "succeeded":
            for earlier in range(1, number + 1):
                self._forget(key, earlier)
        return outcome.unwrap()

    def _create(self, body: Object) -> None:
        try:
            self._api.create(RAY_JOB, body)
            return
        except NotThere:
            raise
        except Conflict:
            there = self._api.get(RAY_JOB, body["metadata"]["name"])
        if there is None:  # it went between the two calls
            self._api.create(RAY_JOB, body)
            return
        if (there["metadata"].get("annotations") or {}).get(DIGEST) != body["metadata"]["annotations"][DIGEST]:
            raise Conflict(
                f"RayJob {body['metadata']['name']!r} is there for other work",
                next_step="Give the run another name; a name stands for one piece of work.",
            )

    def _forget(self, key: str, attempt: int) -> None:
        """A RayJob that could not be deleted loses its pods by itself, after its time to live."""
        with suppress(TidegateError):
            self._api.delete(RAY_JOB, rayjob_name(key, attempt))

    def _folder(self, key: str) -> JobFolder:
        return JobFolder(folder_uri(self._settings.artifacts_uri, key))

    def _attempt(self, key: str) -> int:
        if key not in self._attempts:
            raise NotFound(f"nobody submitted job {key!r} here", next_step="Submit it first.")
        return self._attempts[key]


@contextmanager
def _following(folder: JobFolder, attempt: int) -> Iterator[None]:
    """Tells the job that it is followed; and, on SIGTERM, that its step leaves."""
    told = _Told(folder, attempt)
    told.beat()
    threading.Thread(target=told.keep, name="beat", daemon=True).start()
    restore = _on_sigterm(told.leave)
    try:
        yield
    finally:
        told.done.set()
        restore()


class _Told:
    """What the job is told of its follower."""

    def __init__(self, folder: JobFolder, attempt: int) -> None:
        self._folder, self._attempt = folder, attempt
        self._number = time.time_ns()  # another follower's beats are others
        self._writing = threading.RLock()  # the signal may come while this very thread writes
        self.done = threading.Event()

    def keep(self) -> None:
        while not self.done.wait(_BEAT_SECONDS):
            self.beat()

    def beat(self, *, leaving: bool = False) -> None:
        with self._writing:
            if self.done.is_set() and not leaving:
                return
            self._number += 1
            with suppress(TidegateError):
                self._folder.follow(self._attempt, Follower(beat=self._number, leaving=leaving))

    def leave(self) -> None:
        self.done.set()
        self.beat(leaving=True)
        print("the step is told to stop: its job waits for the step's next pod, then ends itself", flush=True)  # noqa: T201


def _on_sigterm(leave: Callable[[], None]) -> Callable[[], None]:
    """Leaves on SIGTERM and ends the process; outside the main thread nothing can be done about it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def stop(_number: int, _frame: FrameType | None) -> None:
        leave()
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)

    return restore
