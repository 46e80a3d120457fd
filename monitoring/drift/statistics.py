"""The tests behind a drift verdict. Every test gives a p-value *and* an effect size.

A p-value alone alarms on trifles when the window is large; an effect alone alarms on noise when it is small. A column
has drifted when both say so. All tests compare two samples: a reference of a few hundred rows is itself noisy, and
tests that take it for the truth (chi-square against reference frequencies) alarm several times too often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

_MIN_EXPECTED = 5.0  # Cochran 1954: the chi-square approximation wants expected counts of at least 5
_TEXT_SEED = 42
_INVERSE_PENALTY = 10.0


def homogeneity(reference: Sequence[str], window: Sequence[str]) -> tuple[float, float]:
    """Chi-square test of homogeneity of two categorical samples: (p-value, total variation distance in [0, 1]).

    Categories with an expected count below 5 in either sample are pooled into one.
    """
    from scipy.stats import chi2_contingency  # noqa: PLC0415 - heavy

    ref, win = pd.Series(list(reference)).value_counts(), pd.Series(list(window)).value_counts()
    names = sorted({*ref.index, *win.index})
    table = np.array([[float(ref.get(name, 0)) for name in names], [float(win.get(name, 0)) for name in names]])
    shares = table / table.sum(axis=1, keepdims=True)
    distance = float(0.5 * np.abs(shares[0] - shares[1]).sum())
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    rare = expected < _MIN_EXPECTED
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    if table.shape[1] < 2:
        return 1.0, distance
    return float(chi2_contingency(table).pvalue), distance


def kolmogorov_smirnov(reference: Sequence[float], window: Sequence[float]) -> tuple[float, float]:
    """Two-sample Kolmogorov-Smirnov: (p-value, largest distance of the distribution functions in [0, 1])."""
    from scipy.stats import ks_2samp  # noqa: PLC0415 - heavy

    ref, win = np.asarray(reference, dtype=float), np.asarray(window, dtype=float)
    ref, win = ref[~np.isnan(ref)], win[~np.isnan(win)]
    if not len(ref) or not len(win):
        return 1.0, 0.0
    result = ks_2samp(ref, win)
    return float(result.pvalue), float(result.statistic)


def text_content(reference: Sequence[str], window: Sequence[str]) -> tuple[float, float]:
    """Domain classifier: (p-value, ROC AUC of telling window from reference).

    Evidently's own trains on one half and takes the AUC on the other. Here a logistic regression over words and word
    pairs (finds 30% new intents twice as often as Evidently's sparse SGD model on Banking77) is trained on each half
    and tested once on the other by a Mann-Whitney test of its scores (tie-corrected); the smaller p-value is doubled
    (Bonferroni): valid under exchangeable rows. Repeated texts count once, since a text on both sides of the split
    would be recognised, not judged.
    """
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 - heavy

    ref, win = list(dict.fromkeys(reference)), list(dict.fromkeys(window))
    texts = np.array([*ref, *win], dtype=object)
    target = np.array([0] * len(ref) + [1] * len(win))
    order = np.random.default_rng(_TEXT_SEED).permutation(len(texts))
    halves = np.array_split(order, 2)
    p_values, areas = [], []
    for train, test in (halves, halves[::-1]):
        if len(set(target[train])) < 2 or len(set(target[test])) < 2:
            return 1.0, 0.5
        scores = _domain_scores(texts[train], target[train], texts[test])
        if scores is None:
            return 1.0, 0.5
        of_window, of_reference = scores[target[test] == 1], scores[target[test] == 0]
        result = mannwhitneyu(of_window, of_reference, alternative="greater")
        areas.append(float(result.statistic) / (len(of_window) * len(of_reference)))
        p_values.append(float(result.pvalue))
    return min(1.0, 2.0 * min(p_values)), float(np.mean(areas))


def _domain_scores(texts: Any, target: Any, judged: Any) -> Any | None:
    """Log-odds that each judged text is of the window; None when no text has a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - heavy
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:  # empty vocabulary
        return None
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=300).fit(features, target)
    return model.decision_function(vectorizer.transform(judged))


def proportion_drop(reference: tuple[int, int], window: tuple[int, int]) -> tuple[float, float]:
    """Fisher's exact test that the window's share of successes is lower: (p-value, drop in [-1, 1]).

    Args:
        reference: (successes, rows); window: likewise.
    """
    from scipy.stats import fisher_exact  # noqa: PLC0415 - heavy

    (ref_hits, ref_rows), (win_hits, win_rows) = reference, window
    if not ref_rows or not win_rows:
        return 1.0, 0.0
    table = [[win_hits, win_rows - win_hits], [ref_hits, ref_rows - ref_hits]]
    return float(fisher_exact(table, alternative="less").pvalue), ref_hits / ref_rows - win_hits / win_rows


def share_above(hits: int, rows: int, noise: float) -> tuple[float, float]:
    """Exact binomial test that a share exceeds a noise level: (p-value, share)."""
    from scipy.stats import binomtest  # noqa: PLC0415 - heavy

    if not rows:
        return 1.0, 0.0
    return float(binomtest(hits, rows, noise, alternative="greater").pvalue), hits / rows
