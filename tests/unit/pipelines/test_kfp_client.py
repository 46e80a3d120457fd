"""The client against the stand-in: the contract, who may ask, TLS, and what a failed run says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import schedules
from pipelines.publish import find_version, not_run, start, upload
from tests.kfp_api import KfpStandIn, Refused
from tests.kfp_contract import KfpContract, package
from tests.kube_certs import write_certificates
from tidegate.adapters.job_folder import JobFolder, Outcome, folder_uri
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_follow import RunEvent, follow, pod_names
from tidegate.adapters.kfp_launcher import KfpRunLauncher
from tidegate.adapters.kfp_logs import log_of
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.cli.pipelines_list import rows
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import ContractBroken, Denied, GateFailed, InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.kfp_settings import KfpSettings
from tidegate.wire import PROGRESS_MARK, error_to_line

__all__ = ["package"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def stand_in() -> Iterator[KfpStandIn]:
    with KfpStandIn() as made:
        yield made


@pytest.fixture
def kfp(stand_in: KfpStandIn) -> KfpApi:
    return KfpApi(KfpSettings(url=stand_in.url))


class TestStandIn(KfpContract):
    """The stand-in keeps the contract that the real backend keeps."""


# --- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "setting", "content"),
    [
        ({"Authorization": "Bearer t0ken"}, "token_path", "t0ken\n"),
        ({"Cookie": "authservice_session=abc"}, "cookie_path", "authservice_session=abc\n"),
    ],
)
def test_credentials_of_files_are_sent_and_their_lack_is_said(
    tmp_path: Path, wanted: dict[str, str], setting: str, content: str
) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    with KfpStandIn(headers=wanted) as made:
        with pytest.raises(Denied, match="401") as caught:
            KfpApi(KfpSettings(url=made.url))
        assert "--token-file" in caught.value.next_step
        assert KfpApi(KfpSettings.model_validate({"url": made.url, setting: path})).pipelines() == []


@pytest.mark.parametrize(
    ("header", "value", "given"),
    [
        ("Authorization", "Bearer {}", {"token_path": "secret"}),
        ("Cookie", "{}", {"cookie_path": "secret"}),
        ("kubeflow-userid", "{}", {"header_name": "kubeflow-userid", "header_value_path": "secret"}),
    ],
)
def test_a_secret_that_is_renewed_is_read_anew(tmp_path: Path, header: str, value: str, given: dict[str, str]) -> None:
    path = tmp_path / "secret"
    path.write_text("session=one")
    paths = {name: str(path) if item == "secret" else item for name, item in given.items()}
    with KfpStandIn(headers={header: value.format("session=one")}) as made:
        api = KfpApi(KfpSettings.model_validate({"url": made.url, **paths}))
        assert api.pipelines() == []
        made.headers[header] = value.format("session=two")
        with pytest.raises(Denied):
            api.pipelines()
        path.write_text("session=two\n")
        assert api.pipelines() == []


@pytest.mark.parametrize("half", [{"header_name": "kubeflow-userid"}, {"header_value_path": "user.txt"}])
def test_half_of_a_proxy_s_header_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="needs a name and a file") as caught:
        KfpApi(KfpSettings.model_validate({"url": "http://127.0.0.1:1", **half}))
    assert "--header-file" in caught.value.next_step


def test_an_installation_of_many_users_wants_a_namespace_that_one_may_use() -> None:
    with KfpStandIn(multi_user=True) as made:
        with pytest.raises(InvalidInput, match="no namespace is named"):
            KfpApi(KfpSettings(url=made.url))
        with pytest.raises(Denied, match="403"):
            KfpApi(KfpSettings(url=made.url, namespace="other")).pipelines()
        assert KfpApi(KfpSettings(url=made.url, namespace="team")).pipelines() == []


def test_a_refused_upload_is_a_refusal_though_kfp_calls_it_a_bad_request(
    kfp: KfpApi, stand_in: KfpStandIn, package: Package
) -> None:
    kfp.create_pipeline(package.name, "")
    stand_in.may_read_only = True
    with pytest.raises(Denied, match=r"403.*User 'anna' is not authorized") as caught:
        upload(kfp, package, "1")
    assert "--kfp-namespace" in caught.value.next_step


@pytest.mark.parametrize("content", ["", "two\nlines", "umläut"])
def test_a_secret_that_cannot_be_sent_is_named_by_its_file_and_never_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=re.escape(str(path))) as caught:
        KfpApi(KfpSettings(url="http://127.0.0.1:1", token_path=path))
    assert content == "" or content not in str(caught.value)


# --- the way there ---------------------------------------------------------------------------------------------------


def test_tls_wants_the_authority(tmp_path: Path) -> None:
    write_certificates(tmp_path / "pki")
    with KfpStandIn(certificate=tmp_path / "pki") as made:
        assert KfpApi(KfpSettings(url=made.url, ca_path=tmp_path / "pki" / "ca.crt")).pipelines() == []
        with pytest.raises(Unavailable, match="cannot be verified") as caught:
            KfpApi(KfpSettings(url=made.url))
        assert "--ca-file" in caught.value.next_step
        with pytest.raises(Unavailable):
            KfpApi(KfpSettings(url=made.url.replace("https", "http")))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nothing.invalid:8888"])
def test_an_api_that_is_not_there_is_said_at_once(url: str) -> None:
    with pytest.raises(Unavailable, match=re.escape(url)) as caught:
        KfpApi(KfpSettings(url=url))
    assert "port-forward" in caught.value.next_step


@pytest.mark.parametrize("url", ["", "ml-pipeline:8888"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(InvalidInput):
        KfpApi(KfpSettings(url=url))


FOREIGN = {
    "<!doctype html><html><head><title>Kubeflow Central\nDashboard</title></head></html>": "Kubeflow Central Dashboard",
    "Down for maintenance": "Down for maintenance",
    '{"status": "up"}': "status",
    "[]": r"\[\]",
    "": "nothing",
}


@pytest.mark.parametrize("answer", FOREIGN)
def test_what_answers_in_the_place_of_kubeflow_is_no_empty_kubeflow(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, answer: str
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(_request())
    (run,) = stand_in.runs
    stand_in.instead = answer
    asks: list[Callable[[], object]] = [
        lambda: KfpApi(KfpSettings(url=stand_in.url)),
        kfp.pipelines,
        kfp.schedules,
        lambda: kfp.runs(20),
        lambda: kfp.run(run),
        lambda: launcher.state("retrain-1"),
        lambda: launcher.failure("retrain-1"),
        lambda: launcher.start(_request()),
    ]
    if not answer.startswith("{"):  # what says nothing but that it is done may be any object
        asks.append(lambda: kfp.terminate(run))
    for ask in asks:
        with pytest.raises(Unavailable, match=FOREIGN[answer]) as caught:
            ask()
        assert "--url" in caught.value.next_step
    stand_in.instead = None
    assert launcher.state("retrain-1") == "running"


# --- runs ------------------------------------------------------------------------------------------------------------


def _started(kfp: KfpApi, package: Package) -> str:
    upload(kfp, package, "1")
    return start(kfp, "r", package.name, find_version(kfp, package.name), {"seconds": 1}).id


def test_a_failing_gate_comes_back_with_its_reasons(kfp: KfpApi, stand_in: KfpStandIn, package: Package) -> None:
    run = _started(kfp, package)
    gate = GateFailed("exact_match 0.41 is below 0.6", next_step="Train longer.")
    stand_in.end(run, "FAILED", step="evaluate", log=f"{PROGRESS_MARK}batch 1\nerror: x\n{error_to_line(gate)}\n")
    told: list[RunEvent] = []
    with pytest.raises(GateFailed, match=r"step 'evaluate' of run 'r': exact_match 0\.41") as caught:
        follow(kfp, run, told.append, poll_seconds=0.01)
    assert caught.value.next_step == "Train longer."
    assert [(event.kind, event.step) for event in told] == [("started", "evaluate"), ("failed", "evaluate")]


def test_a_run_that_somebody_ended_says_so(kfp: KfpApi, package: Package) -> None:
    run = _started(kfp, package)
    kfp.terminate(run)
    with pytest.raises(Unavailable, match="ended by somebody"):
        follow(kfp, run, lambda _: None, poll_seconds=0.01)


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
            for run_state in (stand_in.runs[run], *stand_in.runs[run]["run_details"]["task_details"]):
                run_state["state"] = "SUCCEEDED"

    assert follow(kfp, run, hear, poll_seconds=0.01).state == "succeeded"
    first_try, second_try = ["begins", "pods wait", "batch 1", "batch 2"], ["begins again", "batch 1", "batch 3"]
    assert told == ["started", *first_try, *second_try, "succeeded"]


DATABASE_AWAY = Refused(500, "Failed to get a run: InternalServerError: Failed to get run: invalid connection")
GONE = Refused(404, "default backend - 404", page=True)


@pytest.mark.parametrize("refusal", [DATABASE_AWAY, GONE], ids=["its database", "its server"])
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


@pytest.mark.parametrize(
    "text", ["a: [", "just words", "pipelineInfo: {name: x}\nroot: {dag: {tasks: {}}}", "a: 1\n---\nb: 1"]
)
def test_a_malformed_package_is_refused_before_it_is_sent(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=re.escape(str(path))):
        read_package(path)


# --- lists -----------------------------------------------------------------------------------------------------------


def test_the_runs_of_a_pipeline_are_found_among_all_the_others(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, package: Package
) -> None:
    upload(kfp, retrain, "1")
    upload(kfp, package, "2")
    ours, others = find_version(kfp, "retrain"), find_version(kfp, package.name)
    for number in range(3):
        kfp.start(f"ours-{number}", ours.pipeline, ours.id, {})
    (like,) = [run for run in stand_in.runs.values() if run["display_name"] == "ours-0"]
    for number in range(250):
        reference = {"pipeline_id": others.pipeline, "pipeline_version_id": others.id}
        added = {**like, "run_id": f"o{number}", "_order": 10 + number, "pipeline_version_reference": reference}
        stand_in.runs[f"o{number}"] = added
    stand_in.asked.clear()
    found = rows(kfp, "runs", "retrain", 2)
    assert [(row["run"], row["pipeline"], row["version"]) for row in found] == [
        ("ours-2", "retrain", "1"),
        ("ours-1", "retrain", "1"),
    ]
    assert [path for _, path in stand_in.asked if "/versions" in path] == [
        f"/apis/v2beta1/pipelines/{ours.pipeline}/versions/{ours.id}"
    ], "one version is shown, and one is asked for"
    assert len(rows(kfp, "runs", "", 20)) == 20
    assert {row["pipeline"] for row in rows(kfp, "pipelines", "", 20)} == {"retrain", package.name}
    assert [row["version"] for row in rows(kfp, "versions", package.name, 20)] == ["2"]
    with pytest.raises(NotFound, match="no pipeline 'nothing'"):
        rows(kfp, "runs", "nothing", 20)


def test_what_is_gone_has_no_name(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    version = find_version(kfp, "retrain")
    kfp.start("r", version.pipeline, version.id, {})
    assert schedules.ensure(kfp, "nightly", "30 2 * * *", "retrain", version, {"deployment": "d"}) == "created"
    stand_in.versions.clear()
    assert [row["version"] for row in rows(kfp, "runs", "", 20)] == [""]
    assert [(row["schedule"], row["version"]) for row in rows(kfp, "schedules", "retrain", 20)] == [("nightly", "")]


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["run_name", "trigger"])
def test_a_schedule_whose_runs_would_all_be_the_first_is_refused(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, parameter: str
) -> None:
    upload(kfp, retrain, "1")
    version = find_version(kfp, "retrain")

    def ensure(value: str) -> str:
        arguments = {"deployment": "d", parameter: value}
        return schedules.ensure(kfp, "nightly", "30 2 * * *", "retrain", version, arguments)

    with pytest.raises(InvalidInput, match=f"'{parameter}' of schedule 'nightly' is always 'n1'") as caught:
        ensure("n1")
    assert "Leave 'run_name' out".replace("run_name", parameter) in caught.value.next_step
    assert stand_in.schedules == {}
    assert ensure("n-[[ScheduledTime]]") == "created"
    assert ensure("[[CurrentTime.20060102]]") == "replaced"
    assert ensure("") == "replaced"


# --- the receiver's launcher -----------------------------------------------------------------------------------------


def _request(**more: Any) -> RetrainRequest:
    given = {
        "key": "retrain-1",
        "model": "m",
        "deployment": "d",
        "reason": "drift",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return RetrainRequest.model_validate(given | more)


@pytest.fixture
def retrain() -> Package:
    from pipelines.compile import COMPILED  # noqa: PLC0415

    return read_package(COMPILED / "retrain.yaml")


def test_a_request_is_one_run_whoever_starts_it(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    launchers = [KfpRunLauncher(KfpSettings(url=stand_in.url)) for _ in range(2)]
    assert [one.start(_request()) for one in launchers] == ["retrain-1", "retrain-1"]
    assert len(stand_in.runs) == 1
    (made,) = stand_in.runs.values()
    assert made["runtime_config"]["parameters"] == {
        "deployment": "d",
        "model_name": "m",
        "trigger": "retrain-1",
        "run_name": "retrain-1",
    }
    assert launchers[1].state("retrain-1") == "running"
    assert launchers[1].since("retrain-1") is not None
    assert launchers[0].start(_request(attempts=1)) == "retrain-1.2"


def test_a_run_is_made_only_by_who_may_and_found_by_everybody(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))

    def refused() -> None:
        assert ("GET", "/apis/v2beta1/experiments") in stand_in.asked, "all that may take long comes before"
        raise InterruptedError

    with pytest.raises(InterruptedError):
        launcher.start(_request(), claim=refused)
    assert stand_in.runs == {}
    launcher.start(_request())
    assert launcher.start(_request(), claim=refused) == "retrain-1"


def test_after_a_roll_back_the_pinned_version_runs(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, tmp_path: Path
) -> None:
    newer = tmp_path / "newer.yaml"
    newer.write_text(retrain.path.read_text().replace("defaultValue: 60.0", "defaultValue: 61.0"))
    assert not_run(upload(kfp, retrain, "0.1.0")) == ""
    assert not_run(upload(kfp, read_package(newer), "0.2.0")) == ""
    back = upload(kfp, retrain, "0.1.0")
    assert (back.result, back.runs) == ("unchanged", "0.2.0")
    assert "TIDEGATE_KFP__VERSION=0.1.0" in not_run(back)

    pinned = KfpSettings(url=stand_in.url, version="0.1.0")
    assert not_run(upload(KfpApi(pinned), retrain, "0.1.0")) == ""
    assert find_version(KfpApi(pinned), "retrain").name == "0.1.0"
    assert find_version(KfpApi(pinned), "retrain", "0.2.0").name == "0.2.0"
    KfpRunLauncher(pinned).start(_request())
    (made,) = stand_in.runs.values()
    assert made["pipeline_version_reference"]["pipeline_version_id"] == find_version(kfp, "retrain", "0.1.0").id
    with pytest.raises(NotFound, match=r"no version '0\.3\.0', which TIDEGATE_KFP__VERSION names"):
        KfpRunLauncher(KfpSettings(url=stand_in.url, version="0.3.0")).start(_request(key="retrain-2"))


@pytest.mark.parametrize(
    ("error", "transient"), [(GateFailed("no"), False), (InvalidInput("few"), False), (Unavailable("lost"), True)]
)
def test_only_what_the_infrastructure_failed_is_tried_again(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, error: Any, transient: bool
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(_request())
    stand_in.end(next(iter(stand_in.runs)), "FAILED", step="evaluate", log=error_to_line(error))
    assert launcher.state("retrain-1") == "failed"
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert failure.transient is transient
    assert error.problem in failure.reason


def test_a_verdict_that_cannot_be_read_now_is_read_later(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(_request())
    stand_in.end(
        next(iter(stand_in.runs)), "FAILED", step="evaluate", log=error_to_line(GateFailed("0.4 is below 0.6"))
    )
    for what, refusal in (
        ("/versions/", DATABASE_AWAY),
        ("/log", Refused(503, "upstream", page=True)),
        ("/runs/", GONE),
    ):
        stand_in.away = {what: refusal}
        with pytest.raises(Unavailable):
            launcher.failure("retrain-1")
    stand_in.away = {}
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert not failure.transient
    assert "0.4 is below 0.6" in failure.reason


@pytest.mark.parametrize(
    ("left", "transient", "said"),
    [
        (GateFailed("0.4 is below 0.6"), False, "0.4 is below 0.6"),
        (Unavailable("the registry is away"), True, "the registry is away"),
        (None, True, "was lost before it came to an end"),
    ],
)
def test_where_the_log_is_gone_the_artifact_store_has_the_verdict(
    kfp: KfpApi,
    stand_in: KfpStandIn,
    retrain: Package,
    tmp_path: Path,
    left: TidegateError | None,
    transient: bool,
    said: str,
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), artifacts_uri=str(tmp_path / "artifacts"))
    launcher.start(_request())
    folder = JobFolder(folder_uri(str(tmp_path / "artifacts"), "retrain-1/evaluate"))
    if left is not None:
        folder.end(1, Outcome.of_error(Unavailable("lost"), NOW))
        folder.end(2, Outcome.of_error(left, NOW))
    stand_in.end(next(iter(stand_in.runs)), "FAILED", step="evaluate")
    stand_in.logs.clear()
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert failure.transient is transient
    assert said in failure.reason


@pytest.mark.parametrize("artifacts_uri", ["", "nothing-of-this-kind://bucket"])
def test_a_failure_that_nothing_explains_starts_no_second_training(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, artifacts_uri: str
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), artifacts_uri=artifacts_uri)
    launcher.start(_request())
    stand_in.end(next(iter(stand_in.runs)), "FAILED", step="evaluate")
    stand_in.logs.clear()
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert not failure.transient
    assert "nothing says why" in failure.reason


def test_a_retraining_that_somebody_ended_is_not_begun_again(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(_request())
    kfp.terminate(next(iter(stand_in.runs)))
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert not failure.transient


def test_a_version_that_caches_is_run_by_nobody(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, tmp_path: Path
) -> None:
    path = tmp_path / "cached.yaml"
    path.write_text(retrain.path.read_text().replace("cachingOptions: {}", "cachingOptions: {enableCache: true}"))
    upload(kfp, read_package(path), "1")
    with pytest.raises(ContractBroken, match="caches"):
        KfpRunLauncher(KfpSettings(url=stand_in.url)).start(_request())
    version = find_version(kfp, "retrain")
    with pytest.raises(ContractBroken, match=r"'1' of pipeline 'retrain' caches .*new-rows") as caught:
        start(kfp, "r", "retrain", version, {"deployment": "d"})
    assert "tidegate pipelines upload" in caught.value.next_step
    with pytest.raises(ContractBroken, match="caches"):
        schedules.ensure(kfp, "nightly", "30 2 * * *", "retrain", version, {"deployment": "d"})
    assert (stand_in.runs, stand_in.schedules) == ({}, {})


def test_a_launcher_without_its_pipeline_says_what_to_do(stand_in: KfpStandIn) -> None:
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    with pytest.raises(NotFound, match="no pipeline 'retrain'"):
        launcher.start(_request())
    assert launcher.state("retrain-9") == "failed"
