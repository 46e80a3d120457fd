"""`python -m monitoring.drift`, the process of a cluster's CronJob: its verdicts, its exit status, its alerts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from components.datasets.intents import BASE_INTENTS, NEW_INTENTS
from monitoring.drift.spec import DriftCheckResult
from monitoring.retraining.policy import EVIDENCE_ANNOTATION
from tests.integration.monitoring.conftest import StartReceiver
from tests.integration.monitoring.receiver import Home
from tests.integration.monitoring.test_drift_job import DEPLOYMENT, Served
from tidegate.adapters import storage

pytestmark = pytest.mark.integration


def _run(home: Home, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDEGATE_HOME": str(home.path), **env}
    command = [sys.executable, "-m", "monitoring.drift", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_each_process_knows_what_fires_already(home: Home, start_receiver: StartReceiver) -> None:
    """Pods of a cluster share database and artifacts, and no disk: the same drift is one alert, and it can end."""
    served, receiver = Served(home), start_receiver()
    shared = {
        "TIDEGATE_RECEIVER_URL": receiver.url,
        "TIDEGATE_DATABASE_URL": home.database_url,
        "TIDEGATE_ARTIFACTS_URI": str(home.path / "artifacts"),
        "TIDEGATE_INFERENCE_LOG__URI": served.settings.inference_log.uri,
        "TIDEGATE_RECEIVER_TOKEN_PATH": str(home.path / "secrets" / "receiver.token"),
    }

    def check(pod: str) -> DriftCheckResult:
        own = {**shared, "TIDEGATE_HOME": str(home.path.with_name(pod))}
        done = _run(home, DEPLOYMENT, f"--reference-uri={served.reference}", **own)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(home.path.with_name(pod), ignore_errors=True)  # the pod's disk goes with it
        return DriftCheckResult.model_validate_json(done.stdout.splitlines()[-1])

    served.serve(2, 200, NEW_INTENTS, end=datetime.now(UTC), style="chat")
    found = [check("first"), check("second")]
    assert [(result.report.verdict, result.alert) for result in found] == [("drift", "firing")] * 2
    (alert,) = home.alerts.alerts()
    link = alert.alert.annotations[EVIDENCE_ANNOTATION]
    assert link == found[0].report.html_uri
    assert b"unseen_words_percent" in storage.read_bytes(link)

    shutil.rmtree(storage.local(served.settings.inference_log.uri))
    served.serve(3, 200, BASE_INTENTS, end=datetime.now(UTC))
    calm = check("third")
    assert (calm.report.verdict, calm.alert) == ("no_drift", "resolved")
    assert sorted(stored.alert.status for stored in home.alerts.alerts()) == ["firing", "resolved"]


def test_the_exit_status_says_whether_a_check_could_be_made(home: Home) -> None:
    served = Served(home)
    missing = _run(home, "nobody")
    assert missing.returncode != 0
    assert "deployment 'nobody' serves nothing yet" in missing.stdout + missing.stderr
    assert "Traceback" not in missing.stderr

    served.serve(3, 200, NEW_INTENTS, end=datetime.now(UTC), style="chat")
    nobody_there = {"TIDEGATE_RECEIVER_URL": "http://127.0.0.1:9"}
    untold = _run(home, DEPLOYMENT, f"--reference-uri={served.reference}", **nobody_there)
    assert untold.returncode == 1  # the job is tried again
    quiet = _run(home, DEPLOYMENT, f"--reference-uri={served.reference}", "--no-alert", **nobody_there)
    assert quiet.returncode == 0
    narrow = _run(home, DEPLOYMENT, f"--reference-uri={served.reference}", "--window-seconds=1", "--no-alert")
    assert DriftCheckResult.model_validate_json(narrow.stdout.splitlines()[-1]).report.verdict == "too_few_rows"
