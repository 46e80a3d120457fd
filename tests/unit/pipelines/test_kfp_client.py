"""The client against the stand-in: the contract, who may ask, TLS, and what a failed run says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.publish import find_version, start, upload
from tests.kfp_api import KfpStandIn
from tests.kfp_contract import KfpContract, package
from tests.kube_certs import write_certificates
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_follow import RunEvent, follow, pod_names
from tidegate.adapters.kfp_launcher import KfpRunLauncher
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import ContractBroken, Denied, GateFailed, InvalidInput, NotFound, Unavailable
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


def test_a_token_that_is_renewed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    with KfpStandIn(headers={"Authorization": "Bearer one"}) as made:
        api = KfpApi(KfpSettings(url=made.url, token_path=path))
        made.headers["Authorization"] = "Bearer two"
        with pytest.raises(Denied):
            api.pipelines()
        path.write_text("two")
        assert api.pipelines() == []


def test_a_proxy_s_header_is_sent(tmp_path: Path) -> None:
    value = tmp_path / "user"
    value.write_text("anna@example.com\n")
    with KfpStandIn(headers={"kubeflow-userid": "anna@example.com"}) as made:
        settings = KfpSettings(url=made.url, header_name="kubeflow-userid", header_value_path=value)
        assert KfpApi(settings).pipelines() == []


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


def test_a_version_that_caches_is_refused(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, tmp_path: Path) -> None:
    path = tmp_path / "cached.yaml"
    path.write_text(retrain.path.read_text().replace("cachingOptions: {}", "cachingOptions: {enableCache: true}"))
    upload(kfp, read_package(path), "1")
    with pytest.raises(ContractBroken, match="caches"):
        KfpRunLauncher(KfpSettings(url=stand_in.url)).start(_request())
    assert stand_in.runs == {}


def test_a_launcher_without_its_pipeline_says_what_to_do(stand_in: KfpStandIn) -> None:
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    with pytest.raises(NotFound, match="no pipeline 'retrain'"):
        launcher.start(_request())
    assert launcher.state("retrain-9") == "failed"
