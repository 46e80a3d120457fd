"""Drift reports as files: `<artifacts>/drift/<id>/` with report.html, evidently.json and drift_report.json.

They lie with the artifacts: a check is often a pod whose own disk goes with it, and an alert links to its report.
"""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError

from monitoring.drift import page
from monitoring.drift.evidently_report import Rendered
from tidegate.adapters import storage
from tidegate.domain.drift import DriftReport
from tidegate.errors import ContractBroken, NotFound, TidegateError
from tidegate.logging import get_logger
from tidegate.settings import Settings

_REPORT = "drift_report.json"
_log = get_logger(__name__)


def folder(settings: Settings) -> str:
    """The address below which the reports lie."""
    artifacts = settings.artifacts_uri
    # A link is opened by others, who have another working directory.
    base = storage.to_uri(storage.local(artifacts)) if storage.is_local(artifacts) else artifacts
    return storage.join(base, "drift")


def addresses(settings: Settings, report_id: str) -> tuple[str, str]:
    """Where a report's page and Evidently's JSON lie."""
    base = storage.join(folder(settings), report_id)
    return storage.join(base, "report.html"), storage.join(base, "evidently.json")


def write(settings: Settings, report: DriftReport, rendered: Rendered | None) -> None:
    """Writes the files of a report; the report itself last, so that a listed report is whole."""
    storage.write_bytes(report.html_uri, page.with_head(rendered.html, report) if rendered else page.alone(report))
    storage.write_bytes(report.json_uri, rendered.json if rendered else b"{}")
    storage.write_text(_address(settings, report.id), report.model_dump_json(indent=1))
    try:
        _forget_old(settings)
    except TidegateError as error:  # the check is made and kept; a store may refuse deletion on purpose
        _log.warning("old drift reports cannot be deleted", folder=folder(settings), why=str(error))


def list_reports(settings: Settings, deployment: str | None = None, limit: int = 50) -> list[DriftReport]:
    """The newest reports, oldest first."""
    found: list[DriftReport] = []
    for report_id in reversed(_ids(settings)):
        try:
            report = _read(settings, report_id)
        except NotFound:  # another check has just deleted it
            continue
        if deployment in (None, report.deployment):
            found.append(report)
        if len(found) == limit:
            break
    return found[::-1]


def get_report(settings: Settings, report_id: str) -> DriftReport:
    """The report of that id.

    Raises:
        NotFound: there is none.
    """
    if report_id.isalnum():
        with suppress(NotFound):
            return _read(settings, report_id)
    raise NotFound(f"drift report {report_id!r} does not exist", next_step="List them with 'tidegate drift list'.")


def _address(settings: Settings, report_id: str) -> str:
    return storage.join(folder(settings), report_id, _REPORT)


def _ids(settings: Settings) -> list[str]:
    """Ids of the reports that are whole, oldest first: they are ULIDs, and sort by time."""
    try:
        names = storage.list_files(folder(settings))
    except NotFound:
        return []
    parts = [name.split("/") for name in names]
    return sorted(part[0] for part in parts if part[1:] == [_REPORT])


def _forget_old(settings: Settings) -> None:
    for old in _ids(settings)[: -settings.drift.keep_reports]:
        storage.remove_tree(storage.join(folder(settings), old))


def _read(settings: Settings, report_id: str) -> DriftReport:
    address = _address(settings, report_id)
    try:
        return DriftReport.model_validate_json(storage.read_bytes(address))
    except ValidationError as error:
        raise ContractBroken(
            f"{address} is not a drift report: {error.errors()[0]['msg']}", next_step="Delete its folder."
        ) from None
