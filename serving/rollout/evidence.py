"""Evidence of one rollout as the judgement reads it: pairs of scores, and the paired differences made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tidegate.domain.evidence import ArmWindow, PairEvent


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was observed of a rollout, in order of arrival.

    Attributes:
        pair_events: scored pairs, in the order in which their scores arrived (not in which the requests were made).
        windows: both arms' windows since the rollout began.
        baseline: the stable version's windows from before the rollout.
        bounds: `(buckets - 1,)` upper bounds in seconds of the windows' latency buckets.
    """

    pair_events: Sequence[PairEvent] = ()
    windows: Sequence[ArmWindow] = ()
    baseline: Sequence[ArmWindow] = ()
    bounds: Sequence[float] = ()

    @property
    def newest(self) -> datetime | None:
        """When the newest evidence was made; None without any."""
        times = [event.time for event in self.pair_events[-50:]] + [window.block_start for window in self.windows[-50:]]
        return max(times, default=None)

    def watermark(self) -> str:
        """How much evidence a decision has seen: with it and the ledger a decision can be computed again."""
        return f"pair_events={len(self.pair_events)} windows={len(self.windows)}"


@dataclass(frozen=True, slots=True)
class PairedSeries:
    """One metric's paired evidence: one difference a unit, candidate minus stable, in order of arrival.

    Attributes:
        differences: `(units,)` in [-1, 1].
        missing: 'candidate', 'stable' in order of arrival: units whose score is missing on one side only.
        unscored: pairs without a score on either side (labels that have not arrived): neither loss nor win.
        repeated: pairs left out because their user has contributed one already.
    """

    differences: NDArray[np.float64]
    stable_mean: float
    candidate_mean: float
    binary: bool
    by_step: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unscored: int = 0
    repeated: int = 0

    @property
    def units(self) -> int:
        return len(self.differences)

    @property
    def wins(self) -> int:
        return int(np.count_nonzero(self.differences > 0))

    @property
    def losses(self) -> int:
        return int(np.count_nonzero(self.differences < 0))

    @property
    def mean(self) -> float:
        return float(self.differences.mean()) if self.units else 0.0


class SeriesBuilder:
    """Builds the series of a metric event by event, so that a judge that looks twice a second adds what is new."""

    def __init__(self, metric: str, *, per_user: bool) -> None:
        self._metric = metric
        self._per_user = per_user
        self._reset()

    def _reset(self) -> None:
        self._taken = 0
        self._last: PairEvent | None = None
        self._differences: list[float] = []
        self._stable_sum = self._candidate_sum = 0.0
        self._binary = True
        self._by_step: dict[str, int] = {}
        self._pair_is: dict[str, str] = {}  # pair -> complete, repeated, unscored, or the side that is missing
        self._pair_of: dict[str, str] = {}  # user -> the pair that counts
        self._repeated = 0

    def series(self, events: Sequence[PairEvent]) -> PairedSeries:
        """The series of the events; those of the last call at their beginning are not looked at again."""
        if self._taken and (len(events) < self._taken or events[self._taken - 1] is not self._last):
            self._reset()
        for event in events[self._taken :]:
            if event.scorer == self._metric:
                self._add(event)
        self._taken, self._last = len(events), events[-1] if events else None
        units = max(1, len(self._differences))
        states = list(self._pair_is.values())
        return PairedSeries(
            differences=np.array(self._differences, dtype=np.float64),
            stable_mean=self._stable_sum / units,
            candidate_mean=self._candidate_sum / units,
            binary=self._binary,
            by_step=dict(self._by_step),
            missing=tuple(state for state in states if state in {"stable", "candidate"}),
            unscored=states.count("unscored"),
            repeated=self._repeated,
        )

    def _add(self, event: PairEvent) -> None:
        """One event. A score that arrives later replaces the missing one, at the place of its own arrival; once a pair
        is scored, a second score changes nothing."""
        if self._pair_is.get(event.pair) in {"complete", "repeated"}:
            return
        self._pair_is.pop(event.pair, None)
        stable, candidate = _finite(event.stable_score), _finite(event.candidate_score)
        if stable is None and candidate is None:
            self._pair_is[event.pair] = "unscored"
            return
        if self._per_user and self._pair_of.setdefault(event.user, event.pair) != event.pair:
            self._pair_is[event.pair] = "repeated"
            self._repeated += 1
            return
        if stable is None or candidate is None:
            self._pair_is[event.pair] = "stable" if stable is None else "candidate"
            return
        self._pair_is[event.pair] = "complete"
        self._differences.append(candidate - stable)
        self._stable_sum += stable
        self._candidate_sum += candidate
        self._binary = self._binary and stable in {0.0, 1.0} and candidate in {0.0, 1.0}
        self._by_step[event.step] = self._by_step.get(event.step, 0) + 1


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) and 0.0 <= score <= 1.0 else None
