"""Drift reports as files: `<home>/drift/<id>/` with report.html, evidently.json and drift_report.json."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import ValidationError

from monitoring.drift import page
from monitoring.drift.evidently_report import Rendered
from tidegate.adapters import storage
from tidegate.domain.drift import DriftReport
from tidegate.errors import ContractBroken, NotFound
from tidegate.settings import Settings

_REPORT = "drift_report.json"


def folder(settings: Settings) -> Path:
    """Where the reports lie."""
    return settings.home / "drift"


def addresses(settings: Settings, report_id: str) -> tuple[str, str]:
    """Where a report's page and Evidently's JSON lie."""
    base = folder(settings) / report_id
    return storage.to_uri(base / "report.html"), storage.to_uri(base / "evidently.json")


def write(settings: Settings, report: DriftReport, rendered: Rendered | None) -> None:
    """Writes the files of a report; the report itself last, so that a listed report is whole."""
    base = folder(settings) / report.id
    base.mkdir(parents=True, exist_ok=True)
    storage.write_bytes(report.html_uri, page.with_head(rendered.html, report) if rendered else page.alone(report))
    storage.write_bytes(report.json_uri, rendered.json if rendered else b"{}")
    storage.write_text(str(base / _REPORT), report.model_dump_json(indent=1))
    for old in sorted(folder(settings).glob(f"*/{_REPORT}"))[: -settings.drift.keep_reports]:  # ULIDs sort by time
        shutil.rmtree(old.parent, ignore_errors=True)


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
