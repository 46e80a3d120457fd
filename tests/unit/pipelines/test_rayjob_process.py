"""The job's own process: what it needs, and how long it waits for its step."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pipelines.jobs import ADDRESSES, JOB, NOW, refuse_outcomes
from tidegate.adapters import patience, rayjob_main
from tidegate.adapters.job_folder import JobFolder, Outcome, folder_uri
from tidegate.adapters.rayjob_main import GPUS_VARIABLE, Watch, main
from tidegate.attestation import load_or_create_key
from tidegate.errors import InvalidInput, Unavailable
from tidegate.ports import JobProgress, Progress
from tidegate.settings import load_settings

PATIENT = ("--reattach", "86400", "--abandoned", "86400")


@pytest.fixture
def surrounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job needs, and no long waits."""
    own = {"TIDEGATE_HOME": str(tmp_path / "home"), "TIDEGATE_PROFILE": "cluster", **ADDRESSES}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rayjob_main, "_WRITE_SECONDS", 0.01)
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)


# --- what a job's pod must have --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "TIDEGATE_PROFILE is 'local'"),
        ({"TIDEGATE_PROFILE": "cluster"}, "needs"),
        ({"TIDEGATE_PROFILE": "cluster", **ADDRESSES}, "the key that signs evaluation reports is not at"),
    ],
)
def test_a_job_begins_only_where_it_finds_what_the_pipelines_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in {**variables, "TIDEGATE_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    folder = JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))
    folder.claim(JOB)
    argv = [folder.uri, "1", "--reattach", "300", "--abandoned", "900"]
    assert rayjob_main.main(argv) == 1
    outcome = folder.outcome(1)
    assert outcome is not None
    with pytest.raises(Unavailable, match=re.escape(said)) as caught:
        outcome.unwrap()
    assert "training.cluster" in caught.value.next_step
    assert outcome.transient, "once it is mended, a retry goes on at once"
    assert not (tmp_path / "home" / "secrets" / "attestation.key").exists(), "a key made here would verify nothing"


def test_a_store_that_cannot_be_read_is_told_in_the_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    argv = [f"gopher://nowhere/{tmp_path.name}", "1", "--reattach", "300", "--abandoned", "900"]
    assert rayjob_main.main(argv) == 1
    assert capsys.readouterr().out.startswith("error: ")


@pytest.mark.usefixtures("surrounded")
def test_a_job_s_process_knows_how_many_gpus_are_reserved_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GPUS_VARIABLE, "9")
    folder = _folder(tmp_path, "reserved")
    assert main([folder.uri, "1", *PATIENT, "--gpus", "2"]) == 0
    outcome = folder.outcome(1)
    assert outcome is not None
    assert outcome.unwrap() == {"gpus": 2}


@pytest.mark.usefixtures("surrounded")
def test_what_is_begun_again_in_the_same_attempt_goes_on_telling(tmp_path: Path) -> None:
    """Kueue takes a job's pods away for another's sake, and gives it new ones."""
    folder = _folder(tmp_path, "greeted")
    told = JobProgress(time=NOW, message="of the pods that went")
    folder.say(1, 1, [told])
    assert main([folder.uri, "1", *PATIENT]) == 0
    assert folder.said(1, 1) == [told], "whoever follows has read it"
    later = folder.said(1, 2)
    assert later is not None
    assert [line.message for line in later] == ["hello"]


# --- a store that is away ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("surrounded")
@pytest.mark.parametrize("away", [1, 3, 1000])
def test_a_store_that_is_away_ends_no_work_and_hears_all_of_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: int
) -> None:
    """`away` writes of progress fail; with 1000 it is away until the work is done, and once longer."""
    folder, refused, say = _folder(tmp_path, "counted"), [0], JobFolder.say

    def refuse(self: JobFolder, attempt: int, part: int, lines: list[JobProgress]) -> None:
        refused[0] += 1
        if refused[0] <= away and not (_DONE.is_set() and refused[0] > 5):
            raise Unavailable("the store is away")
        say(self, attempt, part, lines)

    _DONE.clear()
    monkeypatch.setattr(JobFolder, "say", refuse)
    assert main([folder.uri, "1", *PATIENT]) == 0
    parts = [folder.said(1, part) or [] for part in range(1, folder.parts(1) + 1)]
    assert [line.message for lines in parts for line in lines] == [f"step {number}" for number in range(20)]
    assert refused[0] > len(parts)


@pytest.mark.usefixtures("surrounded")
def test_an_outcome_is_written_when_the_store_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path, "greeted")
    refuse_outcomes(monkeypatch, 3)
    assert main([folder.uri, "1", *PATIENT]) == 0
    outcome = folder.outcome(1)
    assert outcome is not None
    assert outcome.state == "succeeded"


def test_what_will_not_pass_is_not_waited_for() -> None:
    tried = []

    def refuse() -> None:
        tried.append(1)
        raise InvalidInput("the bucket has no such name")

    with pytest.raises(InvalidInput):
        patience.insist(refuse)
    assert len(tried) == 1


def test_an_outage_that_does_not_pass_is_told() -> None:
    with pytest.raises(Unavailable, match="away"):
        patience.insist(_away, seconds=0)


def _away() -> None:
    raise Unavailable("the store is away")


def test_the_first_outcome_of_an_attempt_is_the_one_that_counts(tmp_path: Path) -> None:
    folder = JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))
    assert folder.end(1, Outcome.of_error(Unavailable("its pods were lost"), NOW))
    assert not folder.end(1, Outcome(state="succeeded", time=NOW, result={}))
    found = folder.outcome(1)
    assert found is not None
    assert found.state == "failed"


class _Ended(BaseException):
    """In the place of the process's end."""


def test_a_job_whose_step_went_on_without_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))
    folder.end(1, Outcome.of_error(Unavailable("its pods were lost"), NOW))

    def end(status: int) -> None:
        raise _Ended(status)

    monkeypatch.setattr(rayjob_main, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(_Ended, match="3"):
        rayjob_main._end_when_abandoned(folder, 1, Watch(300, 900, time.monotonic), threading.Event())


_DONE = threading.Event()


def counted(_payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A job of these tests: twenty lines, in more than one part."""
    for number in range(20):
        progress(f"step {number}", {})
        time.sleep(0.005)
    _DONE.set()
    return {}


def _folder(tmp_path: Path, job: str) -> JobFolder:
    """Of a job of this module, in surroundings that have what it needs."""
    load_or_create_key(load_settings().attestation_key_path)
    folder = JobFolder(folder_uri(str(tmp_path), "run-1/fine-tune"))
    folder.claim(JOB.model_copy(update={"entrypoint": f"{__name__}:{job}", "payload": {}}))
    return folder


def greeted(_payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A job of these tests."""
    progress("hello", {})
    return {}


def reserved(_payload: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """A job of these tests."""
    return {"gpus": load_settings().training.gpus}


# --- how long a job waits for its step -------------------------------------------------------------------------------


def test_a_job_that_is_followed_never_ends_itself() -> None:
    now = [0.0]
    watch = Watch(300, 900, lambda: now[0])
    for beat in range(1000):
        now[0] += 600
        assert watch.look((beat, False)) is None


@given(st.floats(1, 1000), st.floats(1, 1000), st.booleans())
def test_a_job_that_nobody_follows_ends_itself_after_its_patience(
    reattach: float, abandoned: float, leaving: bool
) -> None:
    now = [0.0]
    watch = Watch(reattach, abandoned, lambda: now[0])
    assert watch.look((1, leaving)) is None
    patience = reattach if leaving else abandoned
    now[0] = patience * 0.99
    assert watch.look((1, leaving)) is None
    now[0] = patience * 1.01
    why = watch.look((1, leaving))
    assert why is not None
    assert ("told to stop" in why) is leaving


def test_the_step_s_next_pod_keeps_a_job_that_was_left() -> None:
    now = [0.0]
    watch = Watch(300, 900, lambda: now[0])
    watch.look((1, True))
    now[0] = 299
    assert watch.look((2, False)) is None  # the next pod
    now[0] = 299 + 899
    assert watch.look((2, False)) is None
    now[0] = 299 + 901
    assert watch.look((2, False)) is not None
