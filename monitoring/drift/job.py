"""The drift job: reads window and reference, checks, keeps the report, alerts. Runs in a worker of the data pool."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from monitoring.alerts.client import AlertClient, OwnAlert
from monitoring.alerts.tokens import read_token
from monitoring.drift import evidently_report, reference, reports, window
from monitoring.drift.check import Checked, check
from monitoring.drift.spec import DriftCheckResult, DriftCheckSpec
from monitoring.drift.target import Target, find_target
from monitoring.retraining.policy import ACTION_LABEL, EVIDENCE_ANNOTATION
from tidegate.clock import Clock, SystemClock
from tidegate.db import Database
from tidegate.domain.drift import DriftReport
from tidegate.errors import TidegateError
from tidegate.ids import new_id
from tidegate.logging import get_logger
from tidegate.ports import Progress
from tidegate.settings import Settings, load_settings
from tidegate.store.evidence import EvidenceStore
from tidegate.store.firing import FiringStore

ALERT_NAME = "ModelDrift"
_log = get_logger(__name__)


def run(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The entry point of the compute port: a `DriftCheckSpec` in, a `DriftCheckResult` out.

    Raises:
        NotFound: the deployment serves nothing, or the version or its reference window does not exist.
        Unavailable: the registry or database does not answer.
    """
    spec = DriftCheckSpec.model_validate(payload)
    return check_drift(spec, load_settings(), SystemClock(), progress).model_dump(mode="json")


def check_drift(spec: DriftCheckSpec, settings: Settings, clock: Clock, progress: Progress) -> DriftCheckResult:
    """One check from the log to the alert."""
    db = Database.open(settings.database_url)
    try:
        target = find_target(spec, settings, db, clock)
        end = spec.window_end or clock.now()
        start = spec.window_start or end - timedelta(seconds=settings.drift.window_seconds)
        progress(f"comparing {target.key} with its reference over {start:%H:%M:%S} to {end:%H:%M:%S}", {})
        rows = window.read(
            settings.inference_log.uri,
            model=target.logical_model,
            deployment=spec.deployment,
            version=target.version,
            start=start,
            end=end,
            max_rows=settings.drift.max_rows,
            seed=spec.seed,
        )
        labels = EvidenceStore(db, clock).labels([str(key) for key in rows.rows["request_id"]])
        progress(f"{rows.served} requests, {len(rows.rows)} looked at, {len(labels)} with a label", {})
        of_version = reference.read_reference(target.reference_uri)
        checked = check(
            of_version,
            rows.rows,
            labels,
            min_rows=settings.drift.min_rows,
            share_threshold=settings.drift.share_threshold,
        )
        report = _keep(settings, spec, target, checked, (start, end), (len(of_version.rows), len(rows.rows)))
        progress(f"{report.verdict}: {report.reason}", {"drifted_share": report.drifted_share})
        alert = _tell(settings, db, clock, report) if spec.send_alert else "none"
    finally:
        db.close()
    return DriftCheckResult(report=report, alert=alert)


def _keep(
    settings: Settings,
    spec: DriftCheckSpec,
    target: Target,
    checked: Checked,
    times: tuple[datetime, datetime],
    rows: tuple[int, int],
) -> DriftReport:
    rendered = evidently_report.render(checked.windows) if checked.windows else None
    report_id = new_id()
    html_uri, json_uri = reports.addresses(settings, report_id)
    report = DriftReport(
        id=report_id,
        deployment=spec.deployment,
        model=target.model,
        version=target.version,
        window_start=times[0],
        window_end=times[1],
        reference_rows=rows[0],
        window_rows=rows[1],
        columns=checked.columns,
        drifted_share=checked.verdict.drifted_share,
        verdict=checked.verdict.verdict,
        reason=checked.verdict.reason,
        html_uri=html_uri,
        json_uri=json_uri,
    )
    reports.write(settings, report, rendered)
    return report


def _tell(settings: Settings, db: Database, clock: Clock, report: DriftReport) -> str:
    """Fires on drift, resolves on no drift, says nothing about too few rows. A report outlives a lost alert."""
    if report.verdict == "too_few_rows":
        return "none"
    firing = report.verdict == "drift"
    alert = OwnAlert(labels=alert_labels(report), annotations=_annotations(report), firing=firing)
    try:
        token = read_token(settings.receiver_token_path)
        client = AlertClient(settings.receiver_url, token, FiringStore(db), clock=clock)
        if not client.send(alert):
            return "none"
    except TidegateError as error:
        _log.error("drift alert not sent", report=report.id, why=str(error))
        return f"not sent: {error}"
    return "firing" if firing else "resolved"


def alert_labels(report: DriftReport) -> Mapping[str, str]:
    """The alert's identity: one for each version of a deployment."""
    return {
        "alertname": ALERT_NAME,
        "severity": "warning",
        "model": report.model,
        "deployment": report.deployment,
        "version": report.version,
        ACTION_LABEL: "retrain",
    }


def _annotations(report: DriftReport) -> Mapping[str, str]:
    return {
        "summary": f"{report.model}/{report.version}: {report.reason}",
        EVIDENCE_ANNOTATION: report.html_uri,
        "report_id": report.id,
    }
