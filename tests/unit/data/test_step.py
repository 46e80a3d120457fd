"""What a step's process says and returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components import _step
from tidegate.clock import ManualClock
from tidegate.environment import RUN_VARIABLE
from tidegate.errors import GateFailed, InvalidInput
from tidegate.ports import JobProgress, JobSpec
from tidegate.wire import error_from_line


class RecordingCompute:
    """Compute that answers at once: what a step sends to any compute is the subject here."""

    def __init__(self, error: Exception | None = None) -> None:
        self.jobs: list[JobSpec] = []
        self._error = error

    def submit(self, job: JobSpec) -> None:
        self.jobs.append(job)

    def follow(self, key: str) -> Iterator[JobProgress]:
        yield JobProgress(time=ManualClock().now(), message=f"working on {key}")

    def result(self, key: str) -> dict[str, Any]:
        if self._error:
            raise self._error
        return {"key": key}


def test_job_is_submitted_followed_and_answered(capsys: pytest.CaptureFixture[str]) -> None:
    compute = RecordingCompute()
    assert _step.run_job("m:f", {"a": 1}, "data", "run/prepare", compute) == {"key": "run/prepare"}
    assert compute.jobs == [JobSpec(key="run/prepare", entrypoint="m:f", payload={"a": 1}, pool="data")]
    assert capsys.readouterr().out == "» working on run/prepare\n"


def test_failure_is_one_line_that_the_runner_reads_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = GateFailed("exact match 0.1 is below 0.8", next_step="Train longer.")
    monkeypatch.setattr(_step, "compute_from_settings", lambda: RecordingCompute(error))
    with pytest.raises(SystemExit) as caught:
        _step.run_step("m:f", {}, "data", "run/evaluate")
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    found = [read for line in out.splitlines() if (read := error_from_line(line))]
    assert [(type(read), read.problem, read.next_step) for read in found] == [
        (GateFailed, error.problem, error.next_step)
    ]
    assert "Traceback" not in out + err


def test_key_comes_from_the_pipeline_else_from_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_VARIABLE, "run-1")
    assert _step.step_key("prepare", "by-name") == "by-name/prepare"
    assert _step.step_key("prepare") == "run-1/prepare"
    monkeypatch.delenv(RUN_VARIABLE)
    with pytest.raises(InvalidInput, match="does not know its run"):
        _step.step_key("prepare")


def test_an_artifact_names_the_address_and_holds_nothing_else(tmp_path: Path) -> None:
    made = dsl.Dataset(name="data", uri=str(tmp_path / "kfp" / "data"), metadata={})
    _step.publish(made, "s3://bucket/runs/r/prepare", rows=3)
    assert _step.address(made) == "s3://bucket/runs/r/prepare"
    assert made.uri == str(tmp_path / "kfp" / "data"), "KFP's launcher copies what this names"
    assert Path(made.path).read_text() == "s3://bucket/runs/r/prepare\n"
    assert made.metadata["rows"] == 3
    assert _step.address(dsl.Dataset(uri="/from/elsewhere")) == "/from/elsewhere"
