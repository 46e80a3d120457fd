"""What is compared, with which test, and how large a change has to be: window and reference in, ColumnDrift out. Pure.

The error budget belongs to the whole check: `FAMILY_ALPHA` is shared equally over the columns (Bonferroni), so that a
version with many features does not alarm more often than one with few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from monitoring.drift import statistics
from monitoring.drift.descriptors import LENGTH, NON_LETTERS, OOV, PREDICTION, WORDS, Windows
from tidegate.domain.drift import ColumnDrift

if TYPE_CHECKING:
    import pandas as pd

DOMAIN_CLASSIFIER, KS, CHI_SQUARE = "domain classifier", "K-S", "chi-square"
METHODS: dict[str, Callable[[list[Any], list[Any]], tuple[float, float]]] = {
    DOMAIN_CLASSIFIER: statistics.text_content,
    KS: statistics.kolmogorov_smirnov,
    CHI_SQUARE: statistics.homogeneity,
}
"""From the values of the reference and of the window to (p-value, effect)."""

Kind = Literal["text", "embedding", "feature", "quality", "schema"]

FAMILY_ALPHA = 0.01
"""Chance of a false alarm of a whole check, at most, when nothing changed and rows are independent."""

# Smallest change that counts, however significant. Docs: docs/monitoring.md, with the measured false-alarm rate.
AUC_FLOOR = 0.57
KS_FLOOR = 0.15
SHARE_FLOOR = 0.15  # total variation distance: 15 of 100 rows moved
QUALITY_FLOOR = 0.05  # 5 points of exact match
UNKNOWN_LABEL_NOISE = 0.01  # mistyped labels that are taken for ordinary
MIN_LABELLED = 30  # labelled rows for a statement about quality

DESCRIPTORS = frozenset({LENGTH, WORDS, NON_LETTERS, OOV})
TEXT_CONTENT = "text"
QUALITY = "exact_match"
UNKNOWN_LABELS = "labels"


@dataclass(frozen=True, kw_only=True)
class Test:
    """One comparison: the outcome before the error budget is known."""

    column: str
    kind: Kind
    method: str
    p_value: float
    effect: float
    effect_floor: float


def compare(windows: Windows) -> list[Test]:
    """Distribution tests of text, descriptors, predictions and features."""
    return [
        _test(column, kind, method, floor, windows.reference, windows.window)
        for column, kind, method, floor in plan(windows)
    ]


def plan(windows: Windows) -> list[tuple[str, Kind, str, float]]:
    """What is compared: (column, kind, method, least effect that counts)."""
    descriptors = [name for name in windows.numerical if name in DESCRIPTORS]
    features = [name for name in windows.numerical if name not in DESCRIPTORS]
    categories = [name for name in windows.categorical if name != PREDICTION]
    return [
        (TEXT_CONTENT, "text", DOMAIN_CLASSIFIER, AUC_FLOOR),
        *((name, "text", KS, KS_FLOOR) for name in descriptors),
        (PREDICTION, "quality", CHI_SQUARE, SHARE_FLOOR),
        *((name, "feature", KS, KS_FLOOR) for name in features),
        *((name, "feature", CHI_SQUARE, SHARE_FLOOR) for name in categories),
    ]


def quality(reference_correct: tuple[int, int], window_correct: tuple[int, int]) -> list[Test]:
    """Exact match of labelled rows against the reference: (hits, rows) each; empty when too few rows have a label."""
    if window_correct[1] < MIN_LABELLED:
        return []
    p_value, drop = statistics.proportion_drop(reference_correct, window_correct)
    return [_made(QUALITY, "quality", "Fisher exact, lower", p_value, drop, QUALITY_FLOOR)]


def unknown_labels(labels: Sequence[str], known: Sequence[str]) -> list[Test]:
    """Labels that the version cannot answer: new intents. Empty for free text or when nothing is labelled."""
    if not known or not labels:
        return []
    unknown = sum(1 for label in labels if label not in set(known))
    p_value, share = statistics.share_above(unknown, len(labels), UNKNOWN_LABEL_NOISE)
    return [_made(UNKNOWN_LABELS, "quality", "binomial, above noise", p_value, share, UNKNOWN_LABEL_NOISE)]


def judged(tests: Sequence[Test], *, alpha: float = FAMILY_ALPHA) -> list[ColumnDrift]:
    """The tests against their share of the error budget."""
    threshold = alpha / len(tests) if tests else alpha
    return [
        ColumnDrift(
            column=test.column,
            kind=test.kind,
            method=test.method,
            value=test.p_value,
            threshold=threshold,
            drifted=bool(test.p_value < threshold and test.effect >= test.effect_floor),
            effect=test.effect,
            effect_floor=test.effect_floor,
        )
        for test in tests
    ]


def schema(expected: Sequence[str], found: dict[str, float]) -> list[ColumnDrift]:
    """Features that vanished (no value in any row) or that nobody declared.

    Args:
        expected: features of the reference.
        found: the window's features with their share of missing values in [0, 1].
    """
    gone = [name for name in expected if found.get(name, 1.0) >= 1.0]
    new = [name for name in found if name not in expected]
    return [
        ColumnDrift(column=name, kind="schema", method=method, value=1.0, threshold=0.0, drifted=True)
        for names, method in ((gone, "missing in the window"), (new, "not in the reference"))
        for name in sorted(names)
    ]


def _test(column: str, kind: Kind, method: str, floor: float, reference: pd.DataFrame, window: pd.DataFrame) -> Test:
    values = list(reference[column].dropna()), list(window[column].dropna())
    if not all(values):
        return _made(column, kind, method, 1.0, 0.0, floor)
    p_value, effect = METHODS[method](*values)
    return _made(column, kind, method, p_value, effect, floor)


def _made(column: str, kind: Kind, method: str, p_value: float, effect: float, floor: float) -> Test:
    return Test(column=column, kind=kind, method=method, p_value=p_value, effect=effect, effect_floor=floor)
