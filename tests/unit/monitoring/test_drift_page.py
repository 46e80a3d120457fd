"""The head of a drift report says the verdict first, and shows nothing that a message brought along as markup."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitoring.drift import page, reports
from tidegate.domain.drift import ColumnDrift, DriftReport
from tidegate.settings import load_settings

_TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _column(name: str, p: float, *, drifted: bool) -> ColumnDrift:
    return ColumnDrift(
        column=name,
        kind="feature",
        method="K-S",
        value=p,
        threshold=0.01,
        drifted=drifted,
        effect=0.4,
        effect_floor=0.1,
    )


def _report(**more: object) -> DriftReport:
    return DriftReport.model_validate(
        {
            "id": "01",
            "deployment": "intent-assistant",
            "model": "intents",
            "version": "3",
            "window_start": _TIME,
            "window_end": _TIME,
            "reference_rows": 300,
            "window_rows": 200,
            "columns": (_column("calm", 0.5, drifted=False), _column("<b>segment</b>", 1e-9, drifted=True)),
            "drifted_share": 0.5,
            "verdict": "drift",
            "reason": "1 of 2 columns changed: <script>alert(1)</script>",
            "html_uri": "file:///r/report.html",
            "json_uri": "file:///r/evidently.json",
            **more,
        }
    )


def test_the_head_stands_at_the_top_of_the_body() -> None:
    html = page.with_head(b'<html><body class="x"><div id="evidently"></div></body></html>', _report()).decode()
    assert html.startswith('<html><body class="x">')
    assert html.index("intent-assistant") < html.index("evidently")


def test_what_changed_comes_first_and_markup_stays_text() -> None:
    html = page.head(_report())
    assert html.index("&lt;b&gt;segment") < html.index("calm")
    assert "<script>" not in html
    assert "<b>segment" not in html


def test_only_the_newest_reports_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DRIFT__KEEP_REPORTS", "2")
    settings = load_settings(tmp_path)
    for number in ("01A", "01B", "01C"):
        html, data = reports.addresses(settings, number)
        reports.write(settings, _report(id=number, html_uri=html, json_uri=data), None)
    assert [report.id for report in reports.list_reports(settings)] == ["01B", "01C"]
    assert not (tmp_path / "drift" / "01A").exists()


def test_a_check_without_a_comparison_says_why() -> None:
    html = page.alone(_report(columns=(), verdict="too_few_rows", reason="the window has 3 rows")).decode()
    assert "Too few rows" in html
    assert "the window has 3 rows" in html
    assert "<table>" not in html
