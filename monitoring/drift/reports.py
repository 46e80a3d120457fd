"""Drift reports as files: `<home>/drift/<id>/` with report.html, evidently.json and drift_report.json."""

from __future__ import annotations

from html import escape
from pathlib import Path

from pydantic import ValidationError

from monitoring.drift.evidently_report import Rendered
from tidegate.adapters import storage
from tidegate.domain.drift import DriftReport
from tidegate.errors import ContractBroken, NotFound
from tidegate.settings import Settings

_REPORT = "drift_report.json"
_PAGE = "<!doctype html><meta charset=utf-8><title>Drift check</title><h1>No comparison</h1><p>{reason}</p>"


def folder(settings: Settings) -> Path:
    """Where the reports lie."""
    return settings.home / "drift"


def write_rendered(settings: Settings, report_id: str, rendered: Rendered | None, reason: str) -> tuple[str, str]:
    """Writes the page and Evidently's JSON and returns their addresses; without a comparison, the reason why."""
    base = folder(settings) / report_id
    base.mkdir(parents=True, exist_ok=True)
    html = rendered.html if rendered else _PAGE.format(reason=escape(reason)).encode()
    page, data = storage.to_uri(base / "report.html"), storage.to_uri(base / "evidently.json")
    storage.write_bytes(page, html)
    storage.write_bytes(data, rendered.json if rendered else b"{}")
    return page, data


def write_report(settings: Settings, report: DriftReport) -> None:
    storage.write_text(str(folder(settings) / report.id / _REPORT), report.model_dump_json(indent=1))


def list_reports(settings: Settings, deployment: str | None = None, limit: int = 50) -> list[DriftReport]:
    """The newest reports, oldest first."""
    found = sorted(folder(settings).glob(f"*/{_REPORT}"))  # ids are ULIDs: names sort by time
    reports = [_read(path) for path in found]
    return [report for report in reports if deployment in (None, report.deployment)][-limit:]


def get_report(settings: Settings, report_id: str) -> DriftReport:
    """The report of that id.

    Raises:
        NotFound: there is none.
    """
    path = folder(settings) / report_id / _REPORT
    if not report_id.isalnum() or not path.exists():
        raise NotFound(f"drift report {report_id!r} does not exist", next_step="List them with 'tidegate drift list'.")
    return _read(path)


def _read(path: Path) -> DriftReport:
    try:
        return DriftReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ContractBroken(
            f"{path} is not a drift report: {error.errors()[0]['msg']}", next_step="Delete its folder."
        ) from None
