"""From columns to one verdict with a reason that a person on call can read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from monitoring.drift.checks import QUALITY, TEXT_CONTENT, UNKNOWN_LABELS
from monitoring.drift.descriptors import OOV, PREDICTION
from tidegate.domain.drift import ColumnDrift

# One of these is enough. Any other column (a length, a feature) alarms only together with others.
DECISIVE = frozenset({TEXT_CONTENT, OOV, PREDICTION, QUALITY, UNKNOWN_LABELS})


@dataclass(frozen=True)
class Verdict:
    verdict: Literal["drift", "no_drift", "too_few_rows"]
    reason: str
    drifted_share: float


def too_few(window_rows: int, reference_rows: int, min_rows: int) -> Verdict | None:
    """The verdict for windows too small to say anything; None when both are large enough."""
    for what, rows in (("window", window_rows), ("reference", reference_rows)):
        if rows < min_rows:
            return Verdict("too_few_rows", f"the {what} has {rows} rows, a check needs {min_rows}", 0.0)
    return None


def decide(columns: Sequence[ColumnDrift], *, share_threshold: float, window_rows: int) -> Verdict:
    """Drift when a decisive column or the schema changed, or when the share of changed columns is large."""
    drifted = [column for column in columns if column.drifted]
    share = len(drifted) / len(columns) if columns else 0.0
    decisive = [column for column in drifted if column.column in DECISIVE or column.kind == "schema"]
    if decisive or (drifted and share >= share_threshold):
        strongest = sorted(drifted, key=lambda column: (column not in decisive, column.value))
        said = "; ".join(_sentence(column) for column in strongest)
        return Verdict(
            "drift", f"{len(drifted)} of {len(columns)} columns changed over {window_rows} rows: {said}", share
        )
    if drifted:
        said = "; ".join(_sentence(column) for column in drifted)
        reason = f"below {share_threshold:.0%} of the columns changed and none that decides alone: {said}"
        return Verdict("no_drift", reason, share)
    return Verdict("no_drift", f"none of {len(columns)} columns changed over {window_rows} rows", share)


def _sentence(column: ColumnDrift) -> str:
    if column.kind == "schema":
        return f"feature {column.column!r} is {column.method}"
    effect = column.effect if column.effect is not None else 0.0
    told = {
        TEXT_CONTENT: f"a classifier tells the messages from the reference (ROC AUC {effect:.2f})",
        OOV: f"messages hold more or fewer unseen words (K-S distance {effect:.2f})",
        PREDICTION: f"the answers moved between labels (distance {effect:.2f})",
        QUALITY: f"exact match fell by {100 * effect:.0f} points",
        UNKNOWN_LABELS: f"{effect:.0%} of the labels are ones that the version cannot answer",
    }
    sentence = told.get(column.column, f"{column.column} changed ({column.method} effect {effect:.2f})")
    return f"{sentence}, p={column.value:.1g}"
