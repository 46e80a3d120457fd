"""Real Kubeflow Pipelines for many users: it reviews tokens, believes its proxy's header, and asks for rights."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from pipelines.compile import COMPILED
from pipelines.publish import upload
from tests.cluster.kfp.backend import Backend
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.greeting import greeting
from tests.cluster.kfp.profiles import (
    EDITOR,
    OTHER_PROFILE,
    PROFILE,
    RECEIVER,
    STRANGER,
    USER,
    VIEWER,
    Profiles,
    profiles,
)
from tests.cluster.kfp.runs import run_in
from tests.kfp_contract import KfpContract, package
from tests.tls_front import tls_front
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_launcher import KfpRunLauncher
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import Denied, InvalidInput, Unavailable
from tidegate.ids import new_id
from tidegate.kfp_settings import KfpSettings

__all__ = ["package"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def there(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profiles]:
    with profiles(backend, tmp_path_factory.mktemp("profiles")) as made:
        yield made


@pytest.fixture(scope="module")
def kfp(there: Profiles) -> KfpApi:
    return there.open(token_path=there.token(EDITOR))


class TestProfile(KfpContract):
    """All that tidegate relies on holds for an account of the profile with a projected token."""


def test_a_run_ends_well_in_the_profile(there: Profiles, tidegate: Command) -> None:
    package = greeting(there.folder)
    asked = ("--url", there.url, "--kfp-namespace", PROFILE, "--token-file", str(there.token(EDITOR)))
    assert "uploaded" in tidegate.ok("pipelines", "upload", str(package.path), *asked)
    log = there.folder / "run.log"
    process = tidegate.start(log, "pipelines", "run", package.name, "--wait", *asked)
    try:
        code = process.wait(400)
    finally:
        process.kill()
    said = log.read_text()
    assert code == 0, said
    assert "good day" in said, "a step's log is read through the API"
    run = run_in(said)
    pods = there.backend.node.list("pods", PROFILE, f"--selector=pipeline/runid={run},tidegate.dev/step=greet")
    assert [pod["spec"]["serviceAccountName"] for pod in pods] == [EDITOR]


def test_a_user_of_the_proxy_s_header_works_in_the_profile(there: Profiles, package: Package) -> None:
    api = there.as_user(USER)
    assert upload(api, package, "1").result == "uploaded"
    assert package.name in {item.name for item in api.pipelines()}
    with pytest.raises(Denied, match=r"403.*eve@example\.com"):
        there.as_user("eve@example.com").pipelines()


def test_the_receiver_starts_a_retraining_with_the_rights_that_the_chart_gives_it(there: Profiles, kfp: KfpApi) -> None:
    upload(kfp, read_package(COMPILED / "retrain.yaml"), "1")
    there.release(OTHER_PROFILE)
    token = there.token(RECEIVER, namespace=OTHER_PROFILE)
    launcher = KfpRunLauncher(KfpSettings(url=there.url, namespace=PROFILE, token_path=token))
    now = datetime.now(UTC)
    request = RetrainRequest(
        key=f"retrain-{new_id().lower()}", model="m", deployment="d", reason="drift", created_at=now, updated_at=now
    )
    try:
        name = launcher.start(request)
        assert launcher.start(request) == name, "and finds it again"
        assert launcher.state(name) == "running"
    finally:
        (run,) = kfp.runs_named(request.key)
        kfp.terminate(run.id)


def test_who_says_nothing_is_told_to_bring_a_token(there: Profiles) -> None:
    with pytest.raises(Denied, match="does not know who asks") as caught:
        there.open().pipelines()
    assert "--token-file" in caught.value.next_step
    assert "pipelines.kubeflow.org" in caught.value.next_step


def test_a_token_for_another_audience_is_refused(there: Profiles) -> None:
    api = there.open(token_path=there.token(EDITOR, audience="https://elsewhere.example.com"))
    with pytest.raises(Denied, match="401") as caught:
        api.pipelines()
    assert "pipelines.kubeflow.org" in caught.value.next_step


def test_behind_tls_of_an_own_authority_the_token_arrives(there: Profiles, package: Package) -> None:
    with tls_front(there.url, there.folder / "pki") as (url, authority):
        api = there.open(url=url, ca_path=authority, token_path=there.token(EDITOR))
        assert upload(api, package, "1").result == "uploaded"
        with pytest.raises(Unavailable, match="certificate") as caught:
            there.open(url=url)
    assert "--ca-file" in caught.value.next_step


def test_an_account_that_no_binding_names_is_told_to_be_added(there: Profiles) -> None:
    api = there.open(token_path=there.token(STRANGER))
    for ask in (api.pipelines, api.schedules, lambda: api.runs(1), api.experiment):
        with pytest.raises(Denied, match=rf"403.*{PROFILE}:{STRANGER}") as caught:
            ask()
        assert "have its owner add you" in caught.value.next_step


def test_another_profile_is_not_to_be_had(there: Profiles, package: Package) -> None:
    api = there.open(token_path=there.token(EDITOR), namespace=OTHER_PROFILE)
    for ask in (api.pipelines, lambda: upload(api, package, "1")):
        with pytest.raises(Denied, match=rf"403.*{OTHER_PROFILE}") as caught:
            ask()
        assert "--kfp-namespace" in caught.value.next_step


def test_who_may_look_sees_everything_and_changes_nothing(there: Profiles, kfp: KfpApi, package: Package) -> None:
    upload(kfp, package, "1")
    looking = there.open(token_path=there.token(VIEWER))
    version = looking.versions(looking.must_have(package.name).id)[0]
    for change in (
        lambda: looking.upload_version(package.path, version.pipeline, "2", ""),
        lambda: looking.create_pipeline(f"{package.name}-2", ""),
        lambda: looking.start("a-run", version.pipeline, version.id, {"seconds": 1}),
    ):
        with pytest.raises(Denied, match=rf"403.*{PROFILE}:{VIEWER}") as caught:
            change()
        assert "have its owner add you" in caught.value.next_step
    assert [item.name for item in kfp.versions(version.pipeline)] == ["1"]


def test_without_a_profile_nothing_is_asked(there: Profiles) -> None:
    with pytest.raises(InvalidInput, match="no namespace is named") as caught:
        there.open(token_path=there.token(EDITOR), namespace="")
    assert "--kfp-namespace" in caught.value.next_step
