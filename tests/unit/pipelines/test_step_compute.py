"""Attempts of a step's work, in its own pod too: what is told again, what is done again."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pipelines.jobs import JOB, NOW, Clock, refuse_outcomes
from tidegate.adapters.job_folder import Follower, JobFolder, Outcome, folder_uri
from tidegate.adapters.step_compute import StepCompute
from tidegate.errors import Conflict, GateFailed, TidegateError, Unavailable
from tidegate.ports import JobSpec, Progress
from tidegate.settings import Settings

# --- attempts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))


def _ended(error: TidegateError, at: datetime = NOW) -> Outcome:
    return Outcome.of_error(error, at)


def test_a_key_is_one_piece_of_work(folder: JobFolder) -> None:
    folder.claim(JOB)
    folder.claim(JOB.model_copy(update={"node_pool": "cpu"}))  # where it runs is no part of the work
    with pytest.raises(Conflict, match="another entrypoint"):
        folder.claim(JOB.model_copy(update={"payload": {"other": 1}}))


def test_infrastructure_is_tried_again_and_a_verdict_is_told_again(folder: JobFolder) -> None:
    clock = Clock()
    assert folder.attempt(clock, 900) == (1, None)
    folder.end(1, _ended(Unavailable("lost")))
    assert folder.attempt(clock, 900) == (2, None)
    verdict = _ended(GateFailed("no"))
    folder.end(2, verdict)
    assert folder.attempt(clock, 900) == (2, verdict)
    clock.sleep(901)
    assert folder.attempt(clock, 900) == (3, None), "somebody who asks so late has mended something"
    done = Outcome(state="succeeded", time=NOW, result={"a": 1})
    folder.end(3, done)
    assert folder.attempt(clock, 900) == (3, done)
    assert folder.succeeded() == done


def test_followers_and_progress_are_found_again(folder: JobFolder) -> None:
    assert folder.follower(1) is None
    folder.follow(1, Follower(beat=3, leaving=True))
    assert folder.follower(1) == Follower(beat=3, leaving=True)
    assert folder.said(1, 1) is None


_CALLS: list[dict[str, Any]] = []


def work(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A job of these tests."""
    _CALLS.append(payload)
    progress("working", {})
    if payload.get("fail") == "gate":
        raise GateFailed("the gate says no")
    if payload.get("fail") == "lost" and len(_CALLS) == 1:
        raise Unavailable("the store is away")
    return {"calls": len(_CALLS)}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    _CALLS.clear()
    for name in ("MLFLOW_URI", "RAY_ADDRESS", "RAY_DASHBOARD_URL", "ENGINE_URL", "GATEWAY_URL", "RECEIVER_URL"):
        monkeypatch.setenv(f"TIDEGATE_{name}", "http://nowhere.invalid")
    monkeypatch.setenv("TIDEGATE_INFERENCE_LOG__URI", str(tmp_path / "log"))
    given = {"home": tmp_path / "home", "artifacts_uri": str(tmp_path / "a"), "database_url": "sqlite://"}
    return Settings.model_validate({"profile": "cluster", **given})


def _carried_out(settings: Settings, payload: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    compute = StepCompute(settings)  # a new process, as after a lost pod
    compute.submit(JobSpec(key="r/prepare", entrypoint=f"{__name__}:work", payload=payload))
    lines = [line.message for line in compute.follow("r/prepare")]
    return lines, compute.result("r/prepare")


def test_a_step_that_is_tried_again_after_it_succeeded_does_nothing_twice(cluster: Settings) -> None:
    assert _carried_out(cluster, {}) == (["working"], {"calls": 1})
    lines, result = _carried_out(cluster, {})
    assert result == {"calls": 1}
    assert lines[0].startswith("attempt 1 succeeded at")
    with pytest.raises(Conflict):
        _carried_out(cluster, {"other": 1})


def test_a_verdict_is_told_to_every_try_and_a_loss_is_mended_by_the_next(cluster: Settings) -> None:
    for _ in range(2):
        with pytest.raises(GateFailed, match="says no"):
            _carried_out(cluster, {"fail": "gate"})
    assert len(_CALLS) == 1


def test_a_loss_is_mended_by_the_next_try(cluster: Settings) -> None:
    with pytest.raises(Unavailable):
        _carried_out(cluster, {"fail": "lost"})
    assert _carried_out(cluster, {"fail": "lost"})[1] == {"calls": 2}


def test_an_outcome_waits_for_a_store_that_is_away(cluster: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = refuse_outcomes(monkeypatch, 2)
    assert _carried_out(cluster, {})[1] == {"calls": 1}
    assert tried == [3]


# --- two runs of one name at one step --------------------------------------------------------------------------------

_GO = threading.Event()


def slow_work(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A job that ends when a test says so."""
    _CALLS.append(payload)
    progress("working", {})
    assert _GO.wait(60)
    return {"calls": len(_CALLS)}


SLOW = JobSpec(key="r/prepare", entrypoint=f"{__name__}:slow_work", payload={})


@pytest.fixture
def quick(cluster: Settings) -> Settings:
    _GO.clear()
    return cluster.model_copy(update={"jobs": cluster.jobs.model_copy(update={"poll_seconds": 0.01})})


def test_of_two_runs_at_one_step_one_works_and_both_go_on_with_its_result(quick: Settings) -> None:
    first, second = StepCompute(quick, run="a"), StepCompute(quick, run="b")
    first.submit(SLOW)
    assert next(first.follow(SLOW.key)).message == "working"
    second.submit(SLOW)
    lines = second.follow(SLOW.key)
    assert "run a has the same name and works on this step" in next(lines).message
    _GO.set()
    assert first.result(SLOW.key) == {"calls": 1}
    assert [line.message[:20] for line in lines] == ["attempt 1 succeeded "]
    assert second.result(SLOW.key) == {"calls": 1}
    assert len(_CALLS) == 1


def test_the_next_pod_of_the_run_that_works_goes_on_at_once(quick: Settings) -> None:
    StepCompute(quick, run="a").submit(SLOW)  # and its pod is lost
    _GO.set()
    again = StepCompute(quick, run="a")
    again.submit(SLOW)
    assert again.result(SLOW.key)["calls"] >= 1


def test_a_run_that_fell_silent_at_a_step_is_followed_by_the_other_s_next_try(quick: Settings) -> None:
    lost = StepCompute(quick, run="a")
    lost.submit(SLOW)  # and nobody follows it any more: no beats
    waiting = StepCompute(quick, run="b", silent_seconds=0.05)
    waiting.submit(SLOW)
    with pytest.raises(Unavailable, match="run a worked on this step and has been silent"):
        waiting.result(SLOW.key)
    _GO.set()
    again = StepCompute(quick, run="b")
    again.submit(SLOW)
    assert [line.message for line in again.follow(SLOW.key)] == ["working"]
    kept = again.result(SLOW.key)
    with pytest.raises(Unavailable, match="silent"):  # what others went on with counts, also for who was slow
        lost.result(SLOW.key)
    assert JobFolder(folder_uri(quick.artifacts_uri, SLOW.key)).attempt(Clock(), 900)[1] is not None
    assert again.result(SLOW.key) == kept
