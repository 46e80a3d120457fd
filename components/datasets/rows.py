"""RawRow: a row before preparation, as any reader or the generator gives it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tidegate.domain.manifest import DropReason
from tidegate.prompt import FeatureValue

COLUMNS = ("text", "label", "customer_id", "event_time")


@dataclass(frozen=True, kw_only=True)
class RawRow:
    """One row as found. Nothing is trusted yet; `None` is "the source has no value here".

    `problem` names a defect that only the reader could see (bytes that are not UTF-8, a row past the size limit); the
    contract stage drops the row for it. `features` are the columns that the mapping names as features.
    """

    text: str | None
    label: str | None
    group: str | None = None
    event_time: datetime | None = None
    source: str = "generator"
    features: Mapping[str, FeatureValue] = field(default_factory=dict)
    problem: DropReason | None = None


@dataclass(frozen=True, kw_only=True)
class TrafficMessage:
    """A held-out message: who sends it, what it says, and the intent that arrives later as its label."""

    user: str
    text: str
    intent: str


def write_csv(rows: Sequence[RawRow], path: Path) -> None:
    """Writes `text,label,customer_id,event_time`. Lone surrogates become the invalid bytes that they stand for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in rows)


def _cells(row: RawRow) -> Iterable[str]:
    time = row.event_time.astimezone(UTC).isoformat() if row.event_time else ""
    return (row.text or "", row.label or "", row.group or "", time)
