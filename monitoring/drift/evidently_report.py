"""Evidently: text descriptors by its descriptors, and the report for people with our tests as its drift methods.

Evidently chooses its own tests and thresholds by default. Ours are registered with it, so that the report shows exactly
what the verdict was made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from monitoring.drift.checks import CHI_SQUARE, DOMAIN_CLASSIFIER, FAMILY_ALPHA, KS, METHODS, plan
from monitoring.drift.descriptors import LENGTH, NON_LETTERS, WORDS, Windows

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {DOMAIN_CLASSIFIER: "tidegate_domain_classifier", KS: "tidegate_ks", CHI_SQUARE: "tidegate_chi_square"}


@dataclass(frozen=True)
class Rendered:
    """The report as one self-contained HTML page and as Evidently's JSON."""

    html: bytes
    json: bytes


def describe(windows: Windows) -> Windows:
    """Both windows with Evidently's text descriptors as further numerical columns."""
    from evidently import DataDefinition, Dataset  # noqa: PLC0415 - takes seconds
    from evidently.descriptors import NonLetterCharacterPercentage, TextLength, WordCount  # noqa: PLC0415

    def described(rows: pd.DataFrame) -> pd.DataFrame:
        texts = Dataset.from_pandas(
            rows[["text"]],
            DataDefinition(text_columns=["text"]),
            descriptors=[
                TextLength("text", alias=LENGTH),
                WordCount("text", alias=WORDS),
                NonLetterCharacterPercentage("text", alias=NON_LETTERS),
            ],
        ).as_dataframe()
        return rows.assign(**{name: texts[name].to_numpy() for name in (LENGTH, WORDS, NON_LETTERS)})

    return replace(
        windows,
        reference=described(windows.reference),
        window=described(windows.window),
        numerical=(LENGTH, WORDS, NON_LETTERS, *windows.numerical),
    )


def render(windows: Windows) -> Rendered:
    """The report over described windows: one drift section per compared column."""
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415 - takes seconds
    from evidently.metrics import ValueDrift  # noqa: PLC0415

    _register_methods()
    compared = plan(windows)
    threshold = FAMILY_ALPHA / len(compared)
    definition = DataDefinition(
        text_columns=["text"], numerical_columns=list(windows.numerical), categorical_columns=list(windows.categorical)
    )
    shown = [
        column
        for column, *_ in compared
        if windows.reference[column].notna().any() and windows.window[column].notna().any()
    ]
    methods = {column: _NAMES[method] for column, _, method, _ in compared}
    report = Report([ValueDrift(column=name, method=methods[name], threshold=threshold) for name in shown])
    columns = ["text", *windows.numerical, *windows.categorical]
    snapshot = report.run(
        Dataset.from_pandas(windows.window[columns], definition),
        Dataset.from_pandas(windows.reference[columns], definition),
    )
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        snapshot.save_html(str(page))
        html = page.read_bytes()
    return Rendered(html=html, json=json.dumps(json.loads(snapshot.json()), indent=1).encode())


def _register_methods() -> None:
    from evidently.legacy.calculations.stattests import StatTest, register_stattest  # noqa: PLC0415
    from evidently.legacy.core import ColumnType  # noqa: PLC0415

    kinds = {DOMAIN_CLASSIFIER: ColumnType.Text, KS: ColumnType.Numerical, CHI_SQUARE: ColumnType.Categorical}
    for method, name in _NAMES.items():
        test = StatTest(
            name=name, display_name=f"{method} p_value", allowed_feature_types=[kinds[method]], default_threshold=0.01
        )
        register_stattest(test, _as_stattest(method))


def _as_stattest(method: str) -> Callable[..., tuple[float, bool]]:
    def run(reference: Any, current: Any, _feature_type: Any, threshold: float) -> tuple[float, bool]:
        p_value, _effect = METHODS[method](list(reference), list(current))
        return p_value, p_value < threshold

    return run
