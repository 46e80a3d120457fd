"""A rollout's evidence, read from the stores a little at a time and kept in the order of arrival."""

from __future__ import annotations

from datetime import datetime, timedelta

from serving.rollout.evidence import Evidence
from tidegate.db import Database
from tidegate.domain.evidence import BOUNDS, ArmWindow, PairEvent
from tidegate.store.arrivals import scores_since
from tidegate.store.evidence import EvidenceStore

_OVERLAP = timedelta(seconds=5)
"""Scores are asked for again over this time: transactions of several scorers need not commit in order."""
_WINDOW_OVERLAP = timedelta(seconds=180)
"""Blocks are asked for again over this time: gateways write a block until it is over, and late ones once more; and
their clocks differ, which the newest block of one must not decide for the others."""
_LATE_OVERLAP, _LATE_SECONDS = timedelta(minutes=15), timedelta(seconds=60)
"""Once a minute for this time: a gateway keeps its blocks while the database does not answer it."""
BASELINE = timedelta(minutes=10)
"""How much of the stable version's traffic before the rollout is its baseline."""


class EvidenceLog:
    """One rollout's evidence. `read` brings it up to date; what a process lost by a restart is read again."""

    def __init__(self, db: Database, store: EvidenceStore, deployment: str, rollout: str, started_at: datetime) -> None:
        self.rollout = rollout
        self._db = db
        self._store = store
        self._deployment = deployment
        self._events: list[PairEvent] = []
        self._known: dict[tuple[str, str], PairEvent] = {}
        self._recorded: datetime | None = None
        self._windows: dict[tuple[object, ...], ArmWindow] = {}
        self._read_at: datetime | None = None
        self._looked_back: datetime | None = None
        self._baseline = tuple(
            window
            for window in store.windows(deployment, since=started_at - BASELINE)
            if window.rollout is None and window.role == "stable" and window.block_start < started_at
        )

    def read(self, now: datetime) -> Evidence:
        """The evidence as of now."""
        self._read_scores(now)
        self._read_windows(now)
        return Evidence(
            pair_events=tuple(self._events),
            windows=tuple(self._windows.values()),
            baseline=self._baseline,
            bounds=BOUNDS,
        )

    def _read_scores(self, now: datetime) -> None:
        since = min(self._recorded, now) - _OVERLAP if self._recorded is not None else None
        events, self._recorded = scores_since(self._db, self.rollout, since)
        for event in events:
            key = (event.pair, event.scorer)
            if self._known.get(key) != event:  # new, or a missing score that a late label filled
                self._known[key] = event
                self._events.append(event)

    def _read_windows(self, now: datetime) -> None:
        since, looked_back = self._since(now)
        for window in self._store.windows(self._deployment, self.rollout, since):
            key = (window.step, window.role, window.version, window.epoch, window.gateway, window.block_start)
            self._windows[key] = window
        self._read_at, self._looked_back = now, looked_back

    def _since(self, now: datetime) -> tuple[datetime | None, datetime]:
        """From where blocks are asked for, and when they were then last asked for from further back.

        All at first; further back once a minute, and after a time in which none were read.
        """
        if self._read_at is None or self._looked_back is None or not self._windows:
            return None, now
        last = min(self._read_at, now)
        if now - self._looked_back >= _LATE_SECONDS:
            return last - _LATE_OVERLAP, now
        return last - _WINDOW_OVERLAP, self._looked_back
