"""Which test rows are asked: a seeded sample with every label's share kept."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tidegate.errors import InvalidInput


def stratified_sample(rows: pd.DataFrame, *, max_rows: int, seed: int) -> pd.DataFrame:
    """At most `max_rows` rows, every label represented in proportion (largest remainder), in the original order.

    A label keeps at least one row as long as `max_rows` covers the labels.

    Raises:
        InvalidInput: there is no row.
    """
    if rows.empty:
        raise InvalidInput("the test split is empty", next_step="Give more rows, or a larger share for the test split.")
    if len(rows) <= max_rows:
        return rows
    counts = rows["label"].value_counts().sort_index()
    quotas = _quotas(counts.to_numpy(), max_rows)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    labels = rows["label"].to_numpy()
    for label, quota in zip(counts.index, quotas, strict=True):
        positions = np.flatnonzero(labels == label)
        chosen.extend(rng.choice(positions, size=quota, replace=False))
    return rows.iloc[sorted(chosen)]


def _quotas(counts: np.ndarray, total: int) -> list[int]:
    """Largest remainder after one row for each label."""
    first = np.ones(len(counts), dtype=int) if total >= len(counts) else np.zeros(len(counts), dtype=int)
    exact = (counts - first) / max(int((counts - first).sum()), 1) * (total - int(first.sum()))
    quotas = first + np.floor(exact).astype(int)
    by_remainder = np.argsort(-(exact - np.floor(exact)), kind="stable")
    for position in by_remainder[: total - int(quotas.sum())]:
        quotas[position] += 1
    return [int(quota) for quota in quotas]
