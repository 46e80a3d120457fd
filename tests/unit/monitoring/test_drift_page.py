"""The head of a drift report says the verdict first, and shows nothing that a message brought along as markup."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitoring.drift import page, reports
from tidegate.adapters import storage
from tidegate.domain.drift import ColumnDrift, DriftReport
from tidegate.errors import NotFound, Unavailable
from tidegate.ids import new_id
from tidegate.settings import Settings, load_settings

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


@pytest.fixture(params=["local", "remote"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Artifacts in the home, and in a store that is reached through fsspec."""
    monkeypatch.setenv("TIDEGATE_DRIFT__KEEP_REPORTS", "2")
    if request.param == "remote":
        monkeypatch.setenv("TIDEGATE_ARTIFACTS_URI", f"memory://{new_id()}/artifacts")
    return load_settings(tmp_path)


def _write(settings: Settings, number: str, **more: object) -> DriftReport:
    html, data = reports.addresses(settings, number)
    report = _report(id=number, html_uri=html, json_uri=data, **more)
    reports.write(settings, report, None)
    return report


def test_only_the_newest_reports_are_kept(settings: Settings) -> None:
    assert reports.list_reports(settings) == []
    written = [_write(settings, number) for number in ("01A", "01B", "01C")]
    assert reports.list_reports(settings) == written[1:]
    assert not storage.exists(storage.join(settings.artifacts_uri, "drift", "01A"))


def test_a_report_is_read_by_who_has_another_home(settings: Settings, tmp_path: Path) -> None:
    """Each check of a cluster is a pod with a home of its own; the artifacts are what they share."""
    written = _write(settings, "01A")
    _write(settings, "01B", deployment="another")
    elsewhere = settings.model_copy(update={"home": tmp_path / "another home"})
    assert reports.get_report(elsewhere, "01A") == written
    assert reports.list_reports(elsewhere, "intent-assistant", 1) == [written]
    assert written.html_uri.startswith(("file:///", "memory://"))
    assert b"of 2 columns changed" in storage.read_bytes(written.html_uri)
    for missing in ("01Z", "../01A"):
        with pytest.raises(NotFound, match="tidegate drift list") as caught:
            reports.get_report(elsewhere, missing)
        assert repr(missing) in str(caught.value)


def test_a_half_written_report_is_not_listed(settings: Settings) -> None:
    written = _write(settings, "01A")
    storage.write_bytes(reports.addresses(settings, "01B")[0], b"<html>")
    assert reports.list_reports(settings) == [written]


def test_a_store_that_deletes_nothing_costs_no_check(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uri: str) -> None:
        raise Unavailable(f"{uri} cannot be used: forbidden", next_step="Check your rights on it.")

    monkeypatch.setattr(storage, "remove_tree", refuse)
    written = [_write(settings, number) for number in ("01A", "01B", "01C")]
    assert reports.list_reports(settings) == written


def test_a_check_without_a_comparison_says_why() -> None:
    html = page.alone(_report(columns=(), verdict="too_few_rows", reason="the window has 3 rows")).decode()
    assert "Too few rows" in html
    assert "the window has 3 rows" in html
    assert "<table>" not in html
