"""`tidegate alerts` and `tidegate drift` as commands, against a real receiver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.monitoring.conftest import StartReceiver
from tests.integration.monitoring.receiver import Home, wait_for

pytestmark = pytest.mark.integration


def tidegate(home: Home, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tidegate.cli.main", *arguments],
        env={**os.environ, "TIDEGATE_HOME": str(home.path), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sent_alert_can_be_followed_to_its_retraining(home: Home, start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    sent = tidegate(home, "alerts", "send", "--model", "m1", "--retrain", TIDEGATE_RECEIVER_URL=receiver.url)
    assert sent.returncode == 0, sent.stderr
    wait_for(lambda: "succeeded" in home.statuses().values(), what="a finished retraining")
    (alert,) = as_json(tidegate(home, "alerts", "list", "-o", "json"))
    assert alert["outcome"].startswith("retrain")
    (request,) = as_json(tidegate(home, "alerts", "retrainings", "--model", "m1", "-o", "json"))
    assert request["status"] == "succeeded"
    shown = as_json(tidegate(home, "alerts", "show", alert["fingerprint"], "-o", "json"))
    assert shown["labels"]["model"] == "m1"


def test_what_is_missing_is_named_with_its_exit_code(home: Home) -> None:
    missing = tidegate(home, "drift", "show", "01NOSUCHREPORT")
    assert (missing.returncode, "01NOSUCHREPORT" in missing.stderr) == (3, True)
    away = tidegate(home, "alerts", "send", TIDEGATE_RECEIVER_URL="http://127.0.0.1:9")
    assert (away.returncode, "does not answer" in away.stderr) == (5, True)
    assert tidegate(home, "drift", "list").returncode == 0
    assert "Traceback" not in missing.stderr + away.stderr
