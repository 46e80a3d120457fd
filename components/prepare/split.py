"""The split by group and by time, both strictly.

**Time.** Within each source, two cut-offs divide the rows into windows: train, then validation, then test, at the
quantiles that the fractions name. No train row of a source is later than any of its test rows. The windows are per
source, because rows that are added for a retraining are all later than the old ones: one common cut-off would put every
new row into test and leave none to learn from.

**Group.** A customer whose rows fall into more than one window belongs to one split; its rows in other windows are
dropped and accounted as `group_leakage`. Straddling customers are given, the largest first, to the split that gains
most in proportion to what it has (proportional fairness: the greedy step for the sum of the logarithms of the sizes).
So a scarce test row outweighs a plentiful train row, and no split is drained by another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from components.prepare.stages import Row
from tidegate.domain.manifest import StageAccount

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def split_rows(
    rows: Sequence[Row],
    *,
    validation_fraction: float,
    test_fraction: float,
    pinned: Mapping[str, SplitName] | None = None,
) -> tuple[dict[SplitName, list[Row]], StageAccount]:
    """The three splits, each in order of time, and the account of the rows that a straddling group lost.

    Args:
        pinned: sources all of whose rows belong to one split, whatever their time.
    """
    windows = _windows(rows, validation_fraction, test_fraction, pinned or {})
    homes = _homes(rows, windows)
    splits: dict[SplitName, list[Row]] = {name: [] for name in SPLITS}
    for row, window in zip(rows, windows, strict=True):
        if homes[row.group] == window:
            splits[window].append(row)
    for members in splits.values():
        members.sort(key=lambda row: row.order)
    kept = sum(map(len, splits.values()))
    lost = len(rows) - kept
    account = StageAccount(
        stage="split", rows_in=len(rows), rows_out=kept, dropped={"group_leakage": lost} if lost else {}
    )
    return splits, account


def _homes(rows: Sequence[Row], windows: Sequence[SplitName]) -> dict[str, SplitName]:
    """Each group's split."""
    counts: dict[str, Counter[SplitName]] = {}
    for row, window in zip(rows, windows, strict=True):
        counts.setdefault(row.group, Counter())[window] += 1
    homes: dict[str, SplitName] = {}
    sizes: Counter[SplitName] = Counter()
    # Groups in one window first (they have no choice), then the largest; the name makes the order total.
    for group, own in sorted(counts.items(), key=lambda item: (len(item[1]) > 1, -item[1].total(), item[0])):
        # Later windows first, so that a tie goes to the scarcer rows.
        gains = {name: math.log((sizes[name] + own[name] + 1) / (sizes[name] + 1)) for name in reversed(SPLITS)}
        home = max(gains, key=gains.__getitem__)
        homes[group] = home
        sizes[home] += own[home]
    return homes


def _windows(
    rows: Sequence[Row], validation_fraction: float, test_fraction: float, pinned: Mapping[str, SplitName]
) -> list[SplitName]:
    """Each row's window. Rows of one moment share a window: a cut-off is a time, not a rank."""
    result: list[SplitName] = [pinned.get(row.source, "train") for row in rows]
    by_source: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if row.source not in pinned:
            by_source.setdefault(row.source, []).append(number)
    for numbers in by_source.values():
        times = sorted(rows[number].event_time for number in numbers)
        test_from = times[_rank(len(times), test_fraction)]
        validation_from = times[_rank(len(times), validation_fraction + test_fraction)]
        for number in numbers:
            time = rows[number].event_time
            if time >= test_from:
                result[number] = "test"
            elif time >= validation_from:
                result[number] = "validation"
    return result


def _rank(count: int, fraction: float) -> int:
    return min(count - 1, max(0, math.floor(count * (1.0 - fraction))))
