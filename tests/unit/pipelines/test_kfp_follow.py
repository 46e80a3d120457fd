"""A run is followed to its end, and says why it failed."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.publish import find_version, start, upload
from tests.kfp_api import KfpStandIn, Refused
from tests.unit.pipelines.kfp import DATABASE_AWAY, SERVER_AWAY
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_follow import ReasonUnknown, RunEvent, RunStopped, after, follow, pod_names
from tidegate.adapters.kfp_logs import log_of
from tidegate.adapters.kfp_packages import Package
from tidegate.adapters.kfp_workflow import stopped_of
from tidegate.errors import GateFailed, Unavailable
from tidegate.wire import PROGRESS_MARK, error_to_line

GATE = GateFailed("exact_match 0.41 is below 0.6", next_step="Train longer.")


def _started(kfp: KfpApi, package: Package) -> str:
    upload(kfp, package, "1")
    return start(kfp, "r", package.name, find_version(kfp, package.name), {"seconds": 1}).id


def test_a_failing_gate_comes_back_with_its_reasons(kfp: KfpApi, stand_in: KfpStandIn, package: Package) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "FAILED", step="evaluate", log=f"{PROGRESS_MARK}batch 1\nerror: x\n{error_to_line(GATE)}\n")
    told: list[RunEvent] = []
    with pytest.raises(GateFailed, match=r"step 'evaluate' of run 'r': exact_match 0\.41") as caught:
        follow(kfp, run, told.append, poll_seconds=0.01)
    assert caught.value.next_step == "Train longer."
    assert [(event.kind, event.text or event.step) for event in told] == [
        ("started", "evaluate"),
        ("line", "batch 1"),
        ("failed", "evaluate"),
    ]


@pytest.mark.parametrize("before", ["nothing of the step", "the step running"])
def test_a_run_s_end_is_told_before_its_steps_are(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package, before: str
) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "FAILED", step="evaluate", log=f"{error_to_line(GATE)}\n", told="RUNNING")
    tasks = stand_in.runs[run]["run_details"]["task_details"]
    if before == "nothing of the step":
        stand_in.runs[run]["run_details"]["task_details"] = [task for task in tasks if task["display_name"] == "root"]
    told: list[RunEvent] = []
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, kfp, run, told.append, poll_seconds=0.01)
        asked = len(stand_in.asked)
        while len(stand_in.asked) < asked + 9:
            assert not following.done(), following.exception()
            time.sleep(0.01)
        stand_in.runs[run]["run_details"]["task_details"] = tasks
        stand_in.tell(run, "FAILED")
        with pytest.raises(GateFailed, match=r"step 'evaluate' of run 'r': exact_match 0\.41"):
            following.result(30)
    assert [event.kind for event in told] == ["started", "failed"]


def test_the_last_words_of_a_run_that_succeeded_are_told(kfp: KfpApi, stand_in: KfpStandIn, package: Package) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "SUCCEEDED", log=f"{PROGRESS_MARK}begins\n", told="RUNNING")
    told: list[str] = []

    def hear(event: RunEvent) -> None:
        told.append(event.text or event.kind)
        if event.text == "begins":
            stand_in.logs[next(iter(stand_in.logs))] += f"{PROGRESS_MARK}ends\n"
            stand_in.tell(run, "SUCCEEDED")

    assert follow(kfp, run, hear, poll_seconds=0.01).state == "succeeded"
    assert told == ["started", "begins", "ends", "succeeded"]


@pytest.mark.parametrize("state", ["FAILED", "SUCCEEDED"])
def test_steps_whose_end_kfp_never_wrote_ended_as_their_run(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package, state: str
) -> None:
    run = _started(kfp, package)
    stand_in.end(run, state, step="evaluate", log=f"{error_to_line(GATE)}\n", told="RUNNING")
    told: list[RunEvent] = []
    if state == "FAILED":
        with pytest.raises(GateFailed, match=r"step 'evaluate' of run 'r': exact_match 0\.41"):
            follow(kfp, run, told.append, poll_seconds=0.01, tasks_seconds=0.1)
    else:
        assert follow(kfp, run, told.append, poll_seconds=0.01, tasks_seconds=0.1).state == "succeeded"
    assert [event.kind for event in told] == ["started", state.lower()]


@pytest.mark.parametrize("when", ["between two steps", "within one", "within one that said so"])
def test_a_run_that_somebody_ended_is_told_as_that(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package, when: str
) -> None:
    run = _started(kfp, package)
    if when != "between two steps":
        said = error_to_line(Unavailable("told to stop")) if when == "within one that said so" else "step 3 of 12"
        stand_in.end(run, "RUNNING", step="fine-tune", log=f"{said}\n")
    kfp.terminate(run)
    assert not kfp.run(run).terminated, "KFP has forgotten it"
    with pytest.raises(RunStopped, match="run 'r' was ended by somebody"):
        follow(kfp, run, lambda _: None, poll_seconds=0.01)


def test_a_gate_s_no_stays_the_reason_of_a_run_that_was_ended(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package
) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "RUNNING", step="evaluate", log=f"{error_to_line(GATE)}\n")
    kfp.terminate(run)
    with pytest.raises(GateFailed, match=r"exact_match 0\.41"):
        follow(kfp, run, lambda _: None, poll_seconds=0.01)


def test_a_run_that_failed_at_no_step_says_so(kfp: KfpApi, stand_in: KfpStandIn, package: Package) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "FAILED")
    details = stand_in.runs[run]["run_details"]
    details["task_details"] = [task for task in details["task_details"] if task["display_name"] == "root"]
    with pytest.raises(ReasonUnknown, match="at none of its steps: somebody ended it, or a pod of KFP's own"):
        follow(kfp, run, lambda _: None, poll_seconds=0.01)
    for status in (400, 403, 404, 500, 501):  # an installation without the older API, or that lets nobody ask it
        stand_in.away["/v1beta1/"] = Refused(status, "no")
        with pytest.raises(ReasonUnknown):
            follow(kfp, run, lambda _: None, poll_seconds=0.01)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"pipeline_runtime":{"workflow_manifest":""}}', b"\xff"])
def test_what_tells_nothing_of_a_run_s_end_says_that_nobody_ended_it(answer: bytes) -> None:
    assert not stopped_of(answer)


def test_a_step_that_broke_without_a_word_is_told_by_its_last_one(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package
) -> None:
    run = _started(kfp, package)
    log = "Traceback (most recent call last):\nKeyError: 'x'\nF1122 06:04:59.332794      15 main.go:53] exit status 1\n"
    stand_in.end(run, "FAILED", log=log)
    with pytest.raises(Unavailable, match=r"step 'prepare': its log ends with: KeyError: 'x'"):
        follow(kfp, run, lambda _: None, poll_seconds=0.01)


def test_each_try_of_a_step_is_told_from_its_beginning(kfp: KfpApi, stand_in: KfpStandIn, package: Package) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "RUNNING", log="".join(f"{PROGRESS_MARK}{line}\n" for line in ("begins", "pods wait", "batch 1")))
    (first,) = stand_in.logs
    told: list[str] = []

    def hear(event: RunEvent) -> None:
        told.append(event.text if event.kind == "line" else event.kind)
        if event.text == "batch 1" and told.count("batch 1") == 1:  # the pod is lost, after a last word
            stand_in.logs[first] += f"{PROGRESS_MARK}batch 2\n"
            stand_in.end(run, "RUNNING", log=f"{PROGRESS_MARK}begins again\n{PROGRESS_MARK}batch 1\n")
        if event.text == "batch 1" and told.count("batch 1") == 2:
            stand_in.logs[next(reversed(stand_in.logs))] += f"{PROGRESS_MARK}batch 3\n"
            stand_in.runs[run]["state"] = "SUCCEEDED"
            stand_in.tell(run, "SUCCEEDED")

    assert follow(kfp, run, hear, poll_seconds=0.01).state == "succeeded"
    first_try, second_try = ["begins", "pods wait", "batch 1", "batch 2"], ["begins again", "batch 1", "batch 3"]
    assert told == ["started", *first_try, *second_try, "succeeded"]


@given(st.integers(0, 40), st.integers(1, 12), st.lists(st.integers(0, 12), max_size=12))
def test_each_line_of_a_log_is_told_once_however_little_of_it_is_given(
    first: int, window: int, more: list[int]
) -> None:
    """An API server gives the last `window` lines; what grew by more than that between two looks is lost."""
    written = [f"line {number}" for number in range(first)]
    seen, told = written[-window:], written[-window:]
    for grown in more:
        written += [f"line {len(written) + number}" for number in range(grown)]
        lines = written[-window:]
        new = after(seen, lines)
        assert new == (written[-min(grown, window) :] if grown else [])
        told, seen = [*told, *new], lines if new else seen
    assert len(set(told)) == len(told)


def test_a_log_that_breaks_off_early_is_not_told_again() -> None:
    assert after(["a", "b", "c"], ["a", "b"]) == []
    assert after(["a", "b", "c"], []) == []
    assert after([], ["a"]) == ["a"]
    assert after(list("cdefg"), list("de")) == []


def test_a_whole_log_after_the_end_of_one_is_not_told_again() -> None:
    assert after(list("cde"), list("abcdef")) == ["f"]
    assert after(list("xyz"), list("abc")) == list("abc"), "nothing of it was told: so much was written meanwhile"


@pytest.mark.parametrize(
    "refusal",
    [DATABASE_AWAY, SERVER_AWAY, Refused(429, "too many requests"), Refused(401, "the token has expired")],
    ids=["its database", "its server", "too many requests", "an old token"],
)
@pytest.mark.parametrize("what", ["/runs/", "/versions/", "/log"])
def test_what_is_away_for_a_moment_is_waited_for(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package, refusal: Refused, what: str
) -> None:
    run = _started(kfp, package)
    stand_in.end(run, "RUNNING", log=f"{PROGRESS_MARK}begins\n")
    stand_in.away[what] = refusal
    told: list[RunEvent] = []
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, kfp, run, told.append, poll_seconds=0.01)
        while sum(what in path for _, path in stand_in.asked) < 3:
            time.sleep(0.01)
        stand_in.away.clear()
        while what == "/versions/" and not any(event.kind == "line" for event in told):
            time.sleep(0.01)
        stand_in.end(run, "SUCCEEDED", log=f"{PROGRESS_MARK}begins\n{PROGRESS_MARK}ends\n")
        assert following.result(60).state == "succeeded"
    assert [event.kind for event in told].count("started") == 1


LOST = '{"error_message":"Failed to read logs for run r: pods \\"p\\" not found","error_details":"…"}'


@pytest.mark.parametrize(
    ("answer", "log"),
    [
        ("begins\nends\n", "begins\nends\n"),
        ("", ""),
        (LOST, None),
        (f"begins\n{LOST}", "begins\n"),
        ('{"error_message": "is what the step itself says"', '{"error_message": "is what the step itself says"'),
        ('{"error_message":"x","rows":3}\n', '{"error_message":"x","rows":3}\n'),
    ],
)
def test_what_kept_the_server_from_a_log_is_no_log(answer: str, log: str | None) -> None:
    assert log_of(answer) == log


def test_a_log_that_nobody_looked_for_is_not_taken_for_gone() -> None:
    problem = "Failed to read logs for run r due to run fetching error: InternalServerError: Failed to get run: {}"
    with pytest.raises(Unavailable, match="invalid connection"):
        log_of(json.dumps({"error_message": problem.format("invalid connection")}, separators=(",", ":")))
    gone = problem.format("ResourceNotFoundError: Run r not found")
    assert log_of(json.dumps({"error_message": gone}, separators=(",", ":"))) is None


def test_what_the_server_has_not_is_not_there(kfp: KfpApi, stand_in: KfpStandIn, package: Package) -> None:
    run = _started(kfp, package)
    found = kfp.run(run)
    stand_in.away["/versions/"] = Refused(500, "Failed: ResourceNotFoundError: PipelineVersion 1 not found")
    assert kfp.spec_of(found) == {}
    stand_in.away.clear()
    assert kfp.spec_of(found) != {}, "a failure is not kept"
    stand_in.away["/versions/"] = DATABASE_AWAY
    assert kfp.spec_of(found) != {}, "and what never changes is"


def test_pods_are_named_as_argo_names_them() -> None:
    assert pod_names("fine-tune-rrm8z-342", ["a-impl"]) == ["fine-tune-rrm8z-a-impl-342"]
