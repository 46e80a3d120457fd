"""`python -m monitoring.drift`, the process of a cluster's CronJob: its verdicts, its exit status, its alerts."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from components.datasets.intents import NEW_INTENTS
from monitoring.drift.spec import DriftCheckResult
from tests.integration.monitoring.conftest import StartReceiver
from tests.integration.monitoring.receiver import Home
from tests.integration.monitoring.test_drift_job import DEPLOYMENT, Served

pytestmark = pytest.mark.integration


def _run(home: Home, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDEGATE_HOME": str(home.path), **env}
    command = [sys.executable, "-m", "monitoring.drift", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_each_process_knows_what_fires_already(home: Home, start_receiver: StartReceiver) -> None:
    """The home is the volume that the checks share: two checks that find the same drift are one alert."""
    served, receiver = Served(home), start_receiver()
    served.serve(2, 200, NEW_INTENTS, end=datetime.now(UTC), style="chat")
    for _ in range(2):
        done = _run(home, DEPLOYMENT, f"--reference-uri={served.reference}", TIDEGATE_RECEIVER_URL=receiver.url)
        assert done.returncode == 0, done.stderr
        result = DriftCheckResult.model_validate_json(done.stdout.splitlines()[-1])
        assert (result.report.verdict, result.alert) == ("drift", "firing")
    assert len(home.alerts.alerts()) == 1


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
