"""One drift check over two windows in memory: no log, no registry, no files. What the job and the benchmarks call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring.drift import checks, evidently_report, verdict
from monitoring.drift.descriptors import Windows, align
from monitoring.drift.reference import Reference
from monitoring.drift.verdict import Verdict
from tidegate.domain.drift import ColumnDrift

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Checked:
    """`windows` is None when there were too few rows to compare."""

    columns: tuple[ColumnDrift, ...]
    verdict: Verdict
    windows: Windows | None


def check(
    reference: Reference,
    rows: pd.DataFrame,
    labels: Mapping[str, str],
    *,
    min_rows: int,
    share_threshold: float,
) -> Checked:
    """Compares a window with the reference.

    Args:
        rows: columns `request_id`, `customer`, `text`, `answer`, `features` (dictionaries).
        labels: the true label by request id, for the rows that have one.
        min_rows: fewer rows in either window give `too_few_rows`.
        share_threshold: share of changed columns in (0, 1] that is drift when no decisive column changed.
    """
    few = verdict.too_few(len(rows), len(reference.rows), min_rows)
    if few:
        return Checked((), few, None)
    expanded, missing_share = _expand(rows)
    shared = [name for name in reference.features if missing_share.get(name, 1.0) < 1.0]
    windows = evidently_report.describe(align(reference.rows, expanded, features=shared, labels=reference.labels))
    labelled = [
        (str(answer or "").strip(), labels[key])
        for key, answer in zip(rows["request_id"], rows["answer"], strict=True)
        if key in labels
    ]
    tests = [
        *checks.compare(windows),
        *checks.quality(
            (int(reference.rows["correct"].sum()), len(reference.rows)),
            (sum(answer == label for answer, label in labelled), len(labelled)),
        ),
        *checks.unknown_labels([label for _, label in labelled], reference.labels),
    ]
    columns = (*checks.judged(tests), *checks.schema(reference.features, missing_share))
    decided = verdict.decide(columns, share_threshold=share_threshold, window_rows=len(rows))
    return Checked(columns, decided, windows)


def _expand(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """The rows with a column per feature, and each feature's share of missing values."""
    import pandas as pd  # noqa: PLC0415 - heavy

    features: list[dict[str, Any]] = list(rows["features"])
    names = sorted({name for row in features for name in row})
    values = pd.DataFrame({name: [row.get(name) for row in features] for name in names}, index=rows.index)
    missing = {name: float(values[name].isna().mean()) for name in names}
    kept = rows[["request_id", "customer", "text", "answer"]]
    return pd.concat([kept, values], axis=1), missing
