"""Watching the platform at work: new facts of the ledger as lines, a deployment's status, a run that others started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.clock import Clock, SystemClock
from tidegate.db import Database
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import Unavailable
from tidegate.ledger import Ledger, LedgerEntry
from tidegate.local.demo.narrator import Narrator
from tidegate.local.retrain import run_name
from tidegate.store.resources import ResourceStore
from tidegate.store.retraining import RetrainStore
from tidegate.store.runs import RunStore

_POLL_SECONDS = 0.25
_TOLD = {"rollout.transition", "rollout.decision", "retrain.requested", "retrain.status", "gate.overridden"}
"""Kinds of facts that are decisions; the others are told where they happen."""

Status = Mapping[str, Any]


class _Patience:
    """Ends when nothing has changed for so long: a slow machine is no failure, a stuck one is."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._seen: object = None
        self._deadline = clock.monotonic() + seconds

    def ended(self, state: object) -> bool:
        """Whether `state` has been the same for too long."""
        if state != self._seen:
            self._seen = state
            self._deadline = self._clock.monotonic() + self._seconds
        return self._clock.monotonic() > self._deadline


class Watcher:
    """Follows one deployment of the demo.

    Args:
        alive: called at every look; raises when a part of the platform has died.
        clock: by which patience ends.
    """

    def __init__(
        self,
        db: Database,
        deployment: str,
        narrator: Narrator,
        alive: Callable[[], None],
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._clock = clock
        self._ledger = Ledger(db, clock)
        self._resources = ResourceStore(db, clock)
        self._requests = RetrainStore(db, clock)
        self._runs = RunStore(db, clock)
        self._deployment = deployment
        self._narrator = narrator
        self._alive = alive
        self._seen = self._ledger.anchor().seq
        self._since = clock.now()
        self._last = ""

    def status(self) -> Status:
        """The deployment's status; empty before the controller has looked at it."""
        stored = self._resources.get("ModelDeployment", self._deployment)
        return stored.status if stored is not None else {}

    def facts(self, kind: str | None = None) -> list[LedgerEntry]:
        """The facts since the demo began."""
        return self._ledger.entries(kind=kind, since=self._since)

    def tell(self) -> None:
        """Says every decision that was recorded since the last call."""
        for entry in self._ledger.entries(since=self._since):
            if entry.seq <= self._seen:
                continue
            self._seen = entry.seq
            if entry.kind in _TOLD and (text := _sentence(entry)) and text != self._last:
                self._last = text  # a decision and the transition that it causes say the same
                self._narrator.decided(text)

    def wait(self, what: str, done: Callable[[Status], bool], seconds: float) -> Status:
        """Waits until the status is as wanted, telling decisions on the way.

        Args:
            seconds: how long nothing may change.

        Raises:
            Unavailable: nothing changed for so long; the message says where things stand.
        """
        patience = _Patience(seconds, self._clock)
        while True:
            self.tell()
            status = self.status()
            if done(status):
                return status
            self._alive()
            if patience.ended((_progress(status), status.get("reason"))):
                raise Unavailable(
                    f"{what} did not happen, and nothing has changed for {seconds:g} s: phase {status.get('phase')}, "
                    f"reason {status.get('reason')}: {status.get('message')}",
                    next_step=f"See `tidegate rollout explain {self._deployment}` and the logs of the controller.",
                )
            self._narrator.moving(_progress(status) + _forecast(status))
            time.sleep(_POLL_SECONDS)

    def wait_for_retraining(self, model: str, seconds: float) -> RetrainRequest:
        """Waits until the model's newest retraining request has ended.

        Args:
            seconds: how long one stage of the run, or the way to it, may take.

        Raises:
            Unavailable: none came, it failed, or it has not moved for so long.
        """
        patience = _Patience(seconds, self._clock)
        told: set[str] = set()
        state = ""
        while not patience.ended((state, len(told))):
            self.tell()
            self._alive()
            found = [request for request in self._requests.list() if request.model == model]
            newest = max(found, key=lambda request: request.created_at) if found else None
            at_work = self._tell_run(run_name(newest), told) if newest is not None else ""
            if newest is not None and newest.status == "succeeded":
                return newest
            if newest is not None and newest.status in {"failed", "suppressed"}:
                raise Unavailable(
                    f"retraining {newest.key} is {newest.status}: {newest.status_reason}",
                    next_step="See `tidegate alerts list` and the run's log.",
                )
            state = f"retraining is {newest.status if newest else 'not requested yet'}"
            state = f"{state}: {at_work}" if at_work else state
            self._narrator.moving(state)
            time.sleep(_POLL_SECONDS)
        raise Unavailable(
            f"the retraining of {model} has not moved for {seconds:g} s: {state}",
            next_step="See `tidegate alerts list`.",
        )

    def _tell_run(self, run: str, told: set[str]) -> str:
        """Says the stages of a run that have ended and were not `told` yet; returns the one that is at work."""
        found = self._runs.get(run)
        stages = found.stages if found is not None else ()
        for stage in stages:
            if stage.status != "running" and stage.name not in told:
                told.add(stage.name)
                self._narrator.part(stage.name, stage.seconds)
                self._narrator.say(f"retraining: {stage.name} {stage.status} ({stage.seconds:.0f} s)")
        return next((stage.name for stage in stages if stage.status == "running"), "")


def _sentence(entry: LedgerEntry) -> str:
    payload = entry.payload
    message = payload.get("message") or payload.get("reason") or payload.get("status_reason") or payload.get("status")
    label = payload.get("to_phase") or payload.get("verdict") or entry.kind.partition(".")[2]
    return f"{label}: {message}" if message else ""


def _progress(status: Status) -> str:
    parts = [str(status.get("phase") or "waiting for the controller")]
    if status.get("step"):
        parts.append(f"step {status['step']}")
    if status.get("candidate"):
        parts.append(f"candidate {status['candidate']} at {status.get('weight', 0):g}%")
        parts.append(f"{status.get('pairs', 0)} pairs")
    return ", ".join(parts)


def _forecast(status: Status) -> str:
    eta = status.get("etaSeconds")
    return f", about {eta} s to go" if eta is not None else ""
