"""The way to Kubeflow Pipelines: who may ask, TLS, and what answers in its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.publish import upload
from tests.kfp_api import KfpStandIn
from tests.kube_certs import write_certificates
from tests.unit.pipelines.kfp import retrain_request
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_launcher import KfpRunLauncher
from tidegate.adapters.kfp_packages import Package
from tidegate.errors import Denied, InvalidInput, Unavailable
from tidegate.kfp_settings import KfpSettings


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


FOREIGN: dict[str | bytes, str] = {
    "<!doctype html><html><head><title>Kubeflow Central\nDashboard</title></head></html>": "Kubeflow Central Dashboard",
    "Down for maintenance": "Down for maintenance",
    '{"status": "up"}': "status",
    "[]": r"\[\]",
    "": "nothing",
    b"\x1f\x8b\x08 compressed": r"no text, beginning with b'\\x1f\\x8b",
}


@pytest.mark.parametrize("answer", FOREIGN)
def test_what_answers_in_the_place_of_kubeflow_is_no_empty_kubeflow(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, answer: str | bytes
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(retrain_request())
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
        lambda: launcher.start(retrain_request()),
    ]
    if answer[:1] != "{":  # what says nothing but that it is done may be any object
        asks.append(lambda: kfp.terminate(run))
    for ask in asks:
        with pytest.raises(Unavailable, match=FOREIGN[answer]) as caught:
            ask()
        assert "--url" in caught.value.next_step
    stand_in.instead = None
    assert launcher.state("retrain-1") == "running"
