"""An MLflow that asks who one is: the variables of MLflow's own clients count, and a refusal is no missing version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.mlflow_process import Server
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.adapters.mlflow_rest import MlflowRest
from tidegate.errors import Denied, InvalidInput, NotFound

pytestmark = pytest.mark.integration
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("mlflow-with-login"), login=PASSWORD)
    try:
        running.start()
        admin = httpx.Client(base_url=running.uri, auth=("admin", PASSWORD), timeout=60, trust_env=False)
        for path, body in (
            ("registered-models/create", {"name": "secret"}),
            ("model-versions/create", {"name": "secret", "source": "s3://bank-models/secret"}),
            ("users/create", {"username": "ines", "password": PASSWORD}),
        ):
            admin.post(f"/api/2.0/mlflow/{path}", json=body).raise_for_status()
        yield running
    finally:
        running.stop()


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    return monkeypatch


@pytest.fixture
def registry(server: Server, person: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., MlflowRegistry]:
    """Of whoever is named; of nobody without a name."""

    def of(user: str = "", password: str = PASSWORD) -> MlflowRegistry:
        if user:
            _log_in(person, user, password)
        return MlflowRegistry(server.uri, cache=tmp_path)

    return of


def _log_in(person: pytest.MonkeyPatch, user: str, password: str = PASSWORD) -> None:
    person.setenv("MLFLOW_TRACKING_USERNAME", user)
    person.setenv("MLFLOW_TRACKING_PASSWORD", password)


def test_whoever_is_let_in_reads(registry: Callable[..., MlflowRegistry]) -> None:
    admin = registry("admin")
    assert admin.names() == ["secret"]
    assert admin.aliases("secret") == {}
    with pytest.raises(NotFound, match="no version of 'other'"):
        admin.get("other", "1")


@pytest.mark.parametrize("login", [(), ("admin", "wrong")])
def test_without_a_login_the_refusal_says_which_variables(
    registry: Callable[..., MlflowRegistry], login: tuple[str, ...]
) -> None:
    with pytest.raises(Denied, match="refuses these credentials") as caught:
        registry(*login).names()
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.next_step
    assert "mlflow.existingSecret" in caught.value.next_step


def test_what_may_not_be_read_is_not_missing(registry: Callable[..., MlflowRegistry]) -> None:
    ines = registry("ines")
    for read in (
        lambda: ines.get("secret", "1"),
        lambda: ines.aliases("secret"),
        lambda: ines.by_alias("secret", "champion"),
    ):
        with pytest.raises(Denied, match="403"):
            read()


def test_a_token_is_sent_where_there_is_no_password(person: pytest.MonkeyPatch) -> None:
    """MLflow's own server takes none; those that stand before it do."""
    sent: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Authorization"))
        return httpx.Response(200, json={})

    def ask() -> None:
        MlflowRest("http://mlflow", transport=httpx.MockTransport(answer)).get("/registered-models/search")

    ask()
    person.setenv("MLFLOW_TRACKING_TOKEN", "abc\n")
    ask()
    _log_in(person, "ines")
    ask()
    assert sent[:2] == [None, "Bearer abc"]
    assert str(sent[2]).startswith("Basic ")


def test_a_token_that_cannot_be_sent_is_refused_and_not_told(person: pytest.MonkeyPatch) -> None:
    person.setenv("MLFLOW_TRACKING_TOKEN", "a-secret\nof two lines")
    with pytest.raises(InvalidInput, match="MLFLOW_TRACKING_TOKEN holds a line break") as caught:
        MlflowRest("http://mlflow")
    assert "a-secret" not in str(caught.value)
