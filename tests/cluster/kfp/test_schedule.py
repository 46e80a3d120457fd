"""A drift check by the clock, on real Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.kfp.backend import Backend, wait_for
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.platform import DEPLOYMENT, Platform
from tests.cluster.kfp.runs import parameters, pods_of
from tests.cluster.kfp.served import REQUESTS
from tidegate.adapters.job_folder import JobFolder, folder_uri

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

_NAME = "drift-every-minute"
_EVERY_MINUTE = "* * * * *"


@pytest.fixture
def scheduled(tidegate: Command, serving: None) -> Iterator[str]:
    """The schedule's name; it is deleted at the end."""
    given = parameters({"deployment": DEPLOYMENT, "send_alert": False})
    said = tidegate.ok("pipelines", "schedule", _NAME, "--pipeline", "drift-check", "--cron", _EVERY_MINUTE, *given)
    yield said
    tidegate.ok("pipelines", "schedule", _NAME, "--delete")


def test_a_drift_check_fires_by_the_clock_and_finds_the_drift(
    backend: Backend, platform: Platform, tidegate: Command, scheduled: str, environment: None
) -> None:
    assert _NAME in scheduled
    schedule = next(item for item in backend.recurring_runs() if item["display_name"] == _NAME)

    def fired() -> dict[str, str] | None:
        made = [run for run in backend.runs() if run.get("recurring_run_id") == schedule["recurring_run_id"]]
        ended = [run for run in made if run.get("state") in {"SUCCEEDED", "FAILED"}]
        return ended[-1] if ended else None

    run = wait_for(fired, f"schedule {_NAME} has not fired", 400)
    pod = pods_of(backend, run["run_id"], "drift-check")[-1]["metadata"]["name"]
    said = backend.kubectl("logs", pod, "-c", "main")
    assert run["state"] == "SUCCEEDED", said
    assert f"{REQUESTS} requests, {REQUESTS} looked at, {REQUESTS} with a label" in said
    assert "» drift:" in said
    folder = JobFolder(folder_uri(platform.environment["TIDEGATE_ARTIFACTS_URI"], f"{run['run_id']}/drift-check"))
    outcome = folder.succeeded()
    assert outcome is not None
    report = outcome.unwrap()["report"]
    assert (report["verdict"], report["window_rows"]) == ("drift", REQUESTS)
    assert "text" in {column["column"] for column in report["columns"] if column["drifted"]}


def test_the_same_schedule_is_left_alone(backend: Backend, tidegate: Command, scheduled: str) -> None:
    given = parameters({"deployment": DEPLOYMENT, "send_alert": False})
    before = [item["recurring_run_id"] for item in backend.recurring_runs()]
    again = tidegate.ok("pipelines", "schedule", _NAME, "--pipeline", "drift-check", "--cron", _EVERY_MINUTE, *given)
    assert "unchanged" in again
    assert [item["recurring_run_id"] for item in backend.recurring_runs()] == before
