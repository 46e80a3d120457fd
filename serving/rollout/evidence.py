"""Evidence of one rollout as the judgement reads it: paired differences by user, and blocks of concurrent counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tidegate.domain.evidence import ArmWindow, PairEvent

SETTLE_SECONDS = 8.0
"""How long after its start a block is left open: gateways count in blocks of five seconds and flush soon after."""


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


def paired_series(events: Iterable[PairEvent], metric: str, *, per_user: bool) -> PairedSeries:
    """The series of a metric: the first complete pair of each user (`per_user`), or every complete pair."""
    differences: list[float] = []
    missing: list[str] = []
    by_step: dict[str, int] = {}
    seen: set[str] = set()
    stable_sum = candidate_sum = 0.0
    unscored = repeated = 0
    binary = True
    for event in _latest(events, metric):
        stable, candidate = _finite(event.stable_score), _finite(event.candidate_score)
        if stable is None and candidate is None:
            unscored += 1
            continue
        if per_user and event.user in seen:
            repeated += 1
            continue
        seen.add(event.user)
        if stable is None or candidate is None:
            missing.append("stable" if stable is None else "candidate")
            continue
        differences.append(candidate - stable)
        stable_sum += stable
        candidate_sum += candidate
        binary = binary and stable in {0.0, 1.0} and candidate in {0.0, 1.0}
        by_step[event.step] = by_step.get(event.step, 0) + 1
    units = max(1, len(differences))
    return PairedSeries(
        differences=np.array(differences, dtype=np.float64),
        stable_mean=stable_sum / units,
        candidate_mean=candidate_sum / units,
        binary=binary,
        by_step=by_step,
        missing=tuple(missing),
        unscored=unscored,
        repeated=repeated,
    )


def _latest(events: Iterable[PairEvent], metric: str) -> Iterable[PairEvent]:
    """One event a pair: a score that arrived later replaces the missing one, at the place of its own arrival."""
    chosen: dict[str, PairEvent] = {}
    for event in events:
        if event.scorer != metric:
            continue
        earlier = chosen.get(event.pair)
        if earlier is not None and earlier.stable_score is not None and earlier.candidate_score is not None:
            continue  # the first score counts: a second one for the same pair changes nothing
        if earlier is not None:
            del chosen[event.pair]
        chosen[event.pair] = event
    return chosen.values()


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) and 0.0 <= score <= 1.0 else None


# --- concurrent ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """One arm's requests in one block, over all gateways."""

    requests: int
    errors: int
    latency: tuple[int, ...]
    ttft: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Both arms in one step and time block: only what is compared within it is comparable."""

    step: str
    start: datetime
    stable: Counts
    candidate: Counts


def blocks(windows: Sequence[ArmWindow], now: datetime | None = None) -> list[Block]:
    """Closed blocks in order of time: at `now` those that gateways no longer add to, for None all."""
    if not windows:
        return []
    newest = max(window.block_start for window in windows)
    open_from = newest if now is None else now - timedelta(seconds=SETTLE_SECONDS)
    grouped: dict[tuple[datetime, str], dict[str, list[ArmWindow]]] = {}
    for window in windows:
        if window.block_start <= open_from:
            arms = grouped.setdefault((window.block_start, window.step or ""), {"stable": [], "candidate": []})
            arms[window.role].append(window)
    return [
        Block(step=step, start=start, stable=add_up(arms["stable"]), candidate=add_up(arms["candidate"]))
        for (start, step), arms in sorted(grouped.items())
    ]


def add_up(windows: Sequence[ArmWindow]) -> Counts:
    """The sum of windows, which may come from several gateways."""
    return Counts(
        requests=sum(window.requests for window in windows),
        errors=sum(min(window.errors, window.requests) for window in windows),
        latency=_columns([window.latency_counts for window in windows]),
        ttft=_columns([window.ttft_counts for window in windows]),
    )


def _columns(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    width = max((len(row) for row in rows), default=0)
    return tuple(sum(row[i] for row in rows if i < len(row)) for i in range(width))
