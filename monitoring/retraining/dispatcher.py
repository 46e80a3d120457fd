"""Carries retraining requests out: starts runs, follows them, tries again what the infrastructure failed.

An attempt is a run that was made and failed. A start that failed is none: its answer may be lost and the run there
all the same, so the same name is asked for again until somebody answers.

One dispatcher works at a time (a lease); the launcher makes starting idempotent by the request's key, so that a crash
between starting a run and recording it still gives one run. Kubeflow Pipelines may be slower than a lease is long: the
lease is renewed before every request, held for as long as making a run can take, and what is recorded carries its
epoch. A dispatcher that finds it lost leaves the rest of its round to its successor.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring.retraining.decisions import RetrainDecisions
from tidegate.adapters.retrain_runs import ImpossibleRequest
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.domain.drift import RetrainRequest, RetrainStatus
from tidegate.errors import Conflict, TidegateError
from tidegate.logging import get_logger
from tidegate.ports import RunLauncher
from tidegate.store.leases import Fence, LeaseStore
from tidegate.store.retraining import RetrainStore

LEASE = "retraining-dispatcher"
NOBODY = "recorded; nothing starts it: TIDEGATE_KFP__URL (chart value kfp.url) is not set"
LONGEST_START_WAIT = 600.0
"""Seconds between two tries to start a run, however often it failed: the end of an outage is noticed soon after."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FailedStarts:
    """How often in a row, and when the next one is due."""

    count: int
    next: datetime


def start_wait(failures: int, retry_seconds: float) -> float:
    """Seconds to wait after so many failed starts in a row: doubled each time, up to `LONGEST_START_WAIT`."""
    longest = max(retry_seconds, LONGEST_START_WAIT)
    return float(min(retry_seconds * 2.0 ** min(failures - 1, 30), longest))


class _LeaseLost(Exception):
    """Another process dispatches, or may."""


class Dispatcher:
    """`tick()` does one round and returns; the receiver calls it again and again.

    Args:
        holder: this process' name for the lease.
        lease_seconds: a dispatcher that does not renew its lease for so long is followed by another.
        start_seconds: longest that the request which makes a run can take, until its answer is given up.
        max_attempts: runs of one request before it is failed for good.
        retry_seconds: wait before a run is tried again, and after the first start that failed.
    """

    def __init__(  # noqa: PLR0913 - all by keyword
        self,
        *,
        db: Database,
        clock: Clock,
        decisions: RetrainDecisions,
        launcher: RunLauncher | None,
        holder: str,
        lease_seconds: float,
        start_seconds: float,
        max_attempts: int,
        retry_seconds: float = 30.0,
    ) -> None:
        self._decisions = decisions
        self._requests = RetrainStore(db, clock)
        self._leases = LeaseStore(db, clock)
        self._launcher = launcher
        self._clock = clock
        self._holder = holder
        self._lease_seconds = lease_seconds
        # A lease with more than half of its time left is not written anew, so half of this is sure to be left.
        self._start_lease_seconds = 2 * start_seconds
        self._max_attempts = max_attempts
        self._retry_seconds = retry_seconds
        # In memory: who takes over asks at once, which costs one look-up. A reason that is written down moves
        # `updated_at`, so the waiting cannot be counted from there.
        self._failed_starts: dict[str, _FailedStarts] = {}
        self._epoch: int | None = None

    def tick(self) -> bool:
        """One round; False when another process holds the lease."""
        self._epoch = self._leases.acquire(LEASE, self._holder, self._lease_seconds)
        if self._epoch is None:
            return False
        try:
            self._round()
        except _LeaseLost:
            _log.warning("the lease of the dispatcher was lost in the middle of a round", holder=self._holder)
            self._epoch = None
            return False
        return True

    def _round(self) -> None:
        self._decisions.settle_pending()
        pending = self._requests.list(status="pending")
        if self._launcher is None:
            for request in pending:
                if request.status_reason != NOBODY:
                    self._update(request.key, "pending", NOBODY)
            return
        for request in pending:
            self._keep_lease(self._lease_seconds)
            self._start(request, self._launcher)
        unseen: TidegateError | None = None
        for request in self._requests.list(status="running"):
            self._keep_lease(self._lease_seconds)
            try:
                self._follow(request, self._launcher)
            except TidegateError as error:  # it cannot be looked at now; the others may
                unseen = unseen or error
        if unseen is not None:
            raise unseen

    def release(self) -> None:
        """Hands the lease over at once, so that a standby does not wait for it to expire."""
        if self._epoch is not None:
            self._leases.release(LEASE, self._holder, self._epoch)
            self._epoch = None

    def _start(self, request: RetrainRequest, launcher: RunLauncher) -> None:
        now, failed = self._clock.now(), self._failed_starts.get(request.key)
        if request.attempts and now < request.updated_at + timedelta(seconds=self._retry_seconds):
            return
        if failed is not None and now < failed.next:
            return
        try:
            run = launcher.start(request, claim=lambda: self._keep_lease(self._start_lease_seconds))
        except ImpossibleRequest as error:
            self._update(request.key, "failed", str(error))
            _log.error("retraining cannot be started", key=request.key, why=str(error))
            return
        except TidegateError as error:
            self._start_failed(request, error)
            return
        self._failed_starts.pop(request.key, None)
        self._update(request.key, "running", f"run {run} has started", run)
        _log.info("retraining started", key=request.key, model=request.model, run=run, attempt=request.attempts + 1)

    def _start_failed(self, request: RetrainRequest, error: TidegateError) -> None:
        """Without end: the alert that asked for it never comes again, and a later start trains on the rows of then."""
        before = self._failed_starts.get(request.key)
        count = 1 if before is None else before.count + 1
        wait = start_wait(count, self._retry_seconds)
        self._failed_starts[request.key] = _FailedStarts(count=count, next=self._clock.now() + timedelta(seconds=wait))
        reason = f"it could not be started yet, and is tried again: {error}"
        if request.status_reason != reason:  # said once, not every time: each change is an entry of the ledger
            self._update(request.key, "pending", reason)
        _log.warning("retraining could not be started", key=request.key, why=str(error), times=count, again_in=wait)

    def _follow(self, request: RetrainRequest, launcher: RunLauncher) -> None:
        run = request.run or request.key
        state = launcher.state(run)
        if state == "succeeded":
            self._update(request.key, "succeeded", f"run {run} succeeded")
            _log.info("retraining succeeded", key=request.key, run=run)
        elif state == "failed":
            failure = launcher.failure(run)
            reason = failure.reason if failure else f"run {run} failed"
            self._failed_attempt(request, reason, transient=failure.transient if failure else False)

    def _failed_attempt(self, request: RetrainRequest, reason: str, *, transient: bool) -> None:
        attempts = request.attempts + 1
        if transient and attempts < self._max_attempts:
            told = f"attempt {attempts} of {self._max_attempts} failed, it is tried again: {reason}"
            self._update(request.key, "pending", told, attempts=attempts)
            _log.warning("retraining is tried again", key=request.key, why=reason)
        else:
            self._update(request.key, "failed", reason, attempts=attempts)
            _log.error("retraining failed", key=request.key, why=reason, transient=transient)

    def _keep_lease(self, seconds: float) -> None:
        """Raises _LeaseLost: another process has it, or has had it since."""
        assert self._epoch is not None
        if self._leases.renew(LEASE, self._holder, self._epoch, seconds):
            return
        epoch = self._leases.acquire(LEASE, self._holder, seconds)
        if epoch != self._epoch + 1:
            raise _LeaseLost
        self._epoch = epoch  # it ran out, and nobody had it since: what this round has read is still so

    def _update(
        self,
        key: str,
        status: RetrainStatus,
        reason: str,
        run: str | None = None,
        *,
        attempts: int | None = None,
    ) -> None:
        """Raises _LeaseLost: another process has had the lease since, and writes what it sees itself."""
        assert self._epoch is not None
        try:
            self._requests.update(key, status, reason, run, attempts=attempts, fence=Fence(LEASE, self._epoch))
        except Conflict as error:
            raise _LeaseLost from error
