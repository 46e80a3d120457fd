"""`tidegate pipelines run`, `watch`, `stop` and `upload`: what one word too few or a lost answer would cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.publish import upload
from tests.kfp_api import KfpStandIn
from tests.kfp_contract import package
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_packages import Package
from tidegate.cli.pipelines import app
from tidegate.errors import Conflict, GateFailed, InvalidInput, NotFound, Unavailable
from tidegate.kfp_settings import KfpSettings
from tidegate.wire import PROGRESS_MARK, error_to_line

__all__ = ["package"]


@pytest.fixture
def stand_in(package: Package) -> Iterator[KfpStandIn]:
    with KfpStandIn() as made:
        upload(KfpApi(KfpSettings(url=made.url)), package, "1")
        yield made


def call(stand_in: KfpStandIn, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--url", stand_in.url])


def started(stand_in: KfpStandIn, package: Package, name: str = "r") -> str:
    result = call(stand_in, "run", package.name, "-p", "seconds=1", "--name", name)
    assert result.exit_code == 0, result.output
    return result.stdout.strip().splitlines()[-1]


def test_a_lost_answer_says_how_to_find_the_run_and_starts_no_second(stand_in: KfpStandIn, package: Package) -> None:
    stand_in.loses = "POST runs"
    lost = call(stand_in, "run", package.name, "-p", "seconds=1")
    assert isinstance(lost.exception, Unavailable)
    assert "may have started" in lost.exception.problem
    name = lost.exception.next_step.split("--name ")[1].split(":")[0]
    stand_in.loses = ""
    again = call(stand_in, "run", package.name, "-p", "seconds=1", "--name", name)
    assert isinstance(again.exception, Conflict)
    assert [run["display_name"] for run in stand_in.runs.values()] == [name]


def test_an_outage_before_the_request_claims_nothing(stand_in: KfpStandIn, package: Package) -> None:
    stand_in.loses = "POST experiments"
    lost = call(stand_in, "run", package.name, "-p", "seconds=1")
    assert isinstance(lost.exception, Unavailable)
    assert "may have started" not in lost.exception.problem
    assert not stand_in.runs


@pytest.mark.parametrize("words", [["-n", "models"], ["--context", "prod"]])
def test_whose_pods_nobody_follows_is_not_asked(stand_in: KfpStandIn, package: Package, words: list[str]) -> None:
    result = call(stand_in, "run", package.name, "-p", "seconds=1", *words)
    assert isinstance(result.exception, InvalidInput)
    assert "--wait" in result.exception.next_step
    assert not stand_in.runs


def test_a_kubeconfig_that_is_not_there_starts_nothing(
    stand_in: KfpStandIn, package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    result = call(stand_in, "run", package.name, "-p", "seconds=1", "--wait", "-n", "models")
    assert isinstance(result.exception, InvalidInput)
    assert not stand_in.runs


def test_an_upload_without_a_site_is_refused(stand_in: KfpStandIn) -> None:
    result = call(stand_in, "upload")
    assert isinstance(result.exception, InvalidInput)
    assert "--site" in result.exception.next_step
    assert len(stand_in.versions) == 1


@pytest.mark.parametrize("by", ["id", "name"])
def test_watch_tells_a_run_that_is_there_and_ends_with_its_error(
    stand_in: KfpStandIn, package: Package, by: str
) -> None:
    run = started(stand_in, package)
    gate = GateFailed("exact_match 0.41 is below 0.6", next_step="Train longer.")
    stand_in.end(run, "FAILED", step="evaluate", log=f"{PROGRESS_MARK}batch 1\n{error_to_line(gate)}\n")
    result = call(stand_in, "watch", run if by == "id" else "r")
    assert isinstance(result.exception, GateFailed)
    assert "evaluate" in result.stderr
    assert "batch 1" in result.stderr, "it is told from its beginning"


def test_watch_of_a_run_that_succeeded_says_so(stand_in: KfpStandIn, package: Package) -> None:
    stand_in.end(started(stand_in, package), "SUCCEEDED")
    result = call(stand_in, "watch", "r")
    assert result.exit_code == 0
    assert "run r succeeded" in result.stderr


def test_stop_ends_the_newest_run_of_a_name_and_says_when_there_is_nothing_to_end(
    stand_in: KfpStandIn, package: Package
) -> None:
    run = started(stand_in, package)
    result = call(stand_in, "stop", "r")
    assert (result.exit_code, result.stdout.strip()) == (0, run)
    assert stand_in.runs[run]["state"] == "FAILED"
    assert isinstance(call(stand_in, "stop", "r").exception, Conflict)


@pytest.mark.parametrize("command", ["watch", "stop"])
def test_a_run_that_is_not_there_is_not_found(stand_in: KfpStandIn, command: str) -> None:
    result = call(stand_in, command, "absent")
    assert isinstance(result.exception, NotFound)
    assert "absent" in result.exception.problem


def test_an_address_with_a_password_is_refused_and_not_shown() -> None:
    result = CliRunner().invoke(app, ["list", "--url", "http://anna:hunter2@kfp.example.com"])
    assert isinstance(result.exception, InvalidInput)
    assert "hunter2" not in str(result.exception)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused(stand_in: KfpStandIn, package: Package, value: str) -> None:
    result = call(stand_in, "run", package.name, "-p", f"seconds={value}")
    assert isinstance(result.exception, InvalidInput)
    assert "seconds" in result.exception.problem
    assert not stand_in.runs
