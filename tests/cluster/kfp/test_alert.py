"""A drift check on Kubeflow Pipelines fires at the release's receiver, which starts a retraining there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kfp.backend import Backend, wait_for
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.first import MODEL
from tests.cluster.kfp.platform import DEPLOYMENT, RETRAININGS, Platform
from tests.cluster.kfp.runs import parameters, pods_of, states
from tests.cluster.kfp.served import REQUESTS
from tidegate.adapters.kfp_client import KfpApi
from tidegate.errors import InvalidInput
from tidegate.kfp_settings import KfpSettings

# The first module of its folder: its limit pays for the release and the first fine-tune, too.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
_FIRST_STEP = "new-rows"


def _requests(tidegate: Command) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(tidegate.ok("alerts", "retrainings", "--model", MODEL, "-o", "json"))
    return found


@pytest.fixture
def started(backend: Backend, tidegate: Command, serving: None, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The run of the retraining, which is ended afterwards whatever it does."""
    log = tmp_path / "drift-check.log"
    given = parameters({"deployment": DEPLOYMENT, "send_alert": True})
    assert tidegate.start(log, "pipelines", "run", "drift-check", "--wait", *given).wait(400) == 0, log.read_text()
    (request,) = wait_for(lambda: _requests(tidegate), f"no retraining is asked for: {log.read_text()}", 60)

    def named() -> dict[str, Any] | None:
        return next((run for run in backend.runs() if run["display_name"] == request["key"]), None)

    run = wait_for(named, f"no run is called {request['key']}: {_requests(tidegate)}", 120)
    yield run
    with suppress(InvalidInput):  # it has ended
        KfpApi(KfpSettings(url=backend.api)).terminate(run["run_id"])


def test_a_drift_becomes_a_retraining_whose_end_the_receiver_knows(
    backend: Backend, platform: Platform, tidegate: Command, started: dict[str, Any]
) -> None:
    key, run = started["display_name"], started["run_id"]
    assert started["runtime_config"]["parameters"] == {
        "deployment": DEPLOYMENT,
        "model_name": MODEL,
        "trigger": key,
        "run_name": key,
        **RETRAININGS["*"],
        **RETRAININGS[DEPLOYMENT],
    }
    wait_for(lambda: [it["key"] for it in _requests(tidegate) if it["status"] == "running"] == [key], "it runs", 120)
    wait_for(
        lambda: states(backend, run).get(_FIRST_STEP) == "SUCCEEDED", f"{_FIRST_STEP}: {states(backend, run)}", 200
    )
    pod = pods_of(backend, run, _FIRST_STEP)[-1]["metadata"]["name"]
    assert f"{REQUESTS} new labelled rows" in backend.kubectl("logs", pod, "-c", "main")
    KfpApi(KfpSettings(url=backend.api)).terminate(run)

    def ended() -> dict[str, Any] | None:
        (found,) = _requests(tidegate)
        return found if found["status"] == "failed" else None

    told = wait_for(ended, f"the receiver says {_requests(tidegate)}", 120)
    assert "was ended by somebody" in told["status_reason"], "whether it was between two steps or within one"
