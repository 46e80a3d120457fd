"""The REST client's retries and errors, against a scripted server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.adapters.mlflow_rest import MlflowError, MlflowRest
from tidegate.clock import ManualClock
from tidegate.errors import InvalidInput, NotFound, Unavailable

Answer = httpx.Response | Exception


def client(answers: list[Answer], seen: list[httpx.Request] | None = None, patience: float = 20.0) -> MlflowRest:
    """A client whose server gives the answers in turn (the last one for ever); its clock moves as it sleeps."""
    clock = ManualClock()
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content)

    return MlflowRest(
        "http://mlflow.test",
        patience=patience,
        transport=httpx.MockTransport(handle),
        sleep=clock.advance,
        monotonic=clock.monotonic,
    )


def refusal(status: int, code: str, message: str = "because") -> httpx.Response:
    return httpx.Response(status, content=json.dumps({"error_code": code, "message": message}))


OK = httpx.Response(200, content=b'{"fine": true}')


@pytest.mark.parametrize(
    "first",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.Response(503, content=b"starting"),
        refusal(500, "INTERNAL_ERROR"),
        refusal(400, "BAD_REQUEST", "(sqlite3.OperationalError) database is locked"),
        refusal(400, "BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed: model_version_tags.key"),
    ],
)
def test_passing_trouble_is_retried(first: Answer) -> None:
    seen: list[httpx.Request] = []
    assert client([first, first, OK], seen).get("/x") == {"fine": True}
    assert len(seen) == 3


def test_lasting_trouble_ends_in_an_error_that_names_server_and_next_step() -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(Unavailable, match=r"MLflow at http://mlflow.test .* within 5 s.*tidegate up"):
        client([httpx.ConnectError("refused")], seen, patience=5.0).get("/x")
    assert 3 <= len(seen) <= 12


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RESOURCE_DOES_NOT_EXIST", "no such model"),
        # Somebody else was quicker: that is an answer, although an IntegrityError is quoted in it.
        (400, "RESOURCE_ALREADY_EXISTS", "Experiment(name=m) already exists. Error: (sqlite3.IntegrityError) UNIQUE"),
    ],
)
def test_refusal_is_not_retried(status: int, code: str, message: str) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(MlflowError) as caught:
        client([refusal(status, code, message)], seen).get("/x")
    assert caught.value.code == code
    assert len(seen) == 1


def test_another_kind_of_server_is_recognised() -> None:
    with pytest.raises(InvalidInput, match="not as an MLflow server does"):
        client([httpx.Response(404, content=b"<html>nothing here</html>")]).get("/x")


def test_pages_are_followed_to_the_end() -> None:
    pages: list[Answer] = [
        httpx.Response(200, content=b'{"items": [{"n": 1}], "next_page_token": "t"}'),
        httpx.Response(200, content=b'{"items": [{"n": 2}]}'),
    ]
    seen: list[httpx.Request] = []
    assert client(pages, seen).pages("/x", "items") == [{"n": 1}, {"n": 2}]
    assert seen[1].url.params["page_token"] == "t"


def _registry(tmp_path: Path, handle: Callable[[httpx.Request], dict[str, Any]]) -> MlflowRegistry:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=handle(request)))
    return MlflowRegistry("", cache=tmp_path, rest=MlflowRest("http://mlflow.test", transport=transport))


def test_versions_without_ready_tag_are_not_listed(tmp_path: Path) -> None:
    row = {"name": "m", "version": "1", "source": str(tmp_path), "tags": [{"key": "tidegate.run-key", "value": "k"}]}
    registry = _registry(
        tmp_path, lambda request: {"model_versions": [row], "model_version": row, "registered_models": [{"name": "m"}]}
    )
    assert registry.versions("m") == []
    assert registry.by_alias("m", "challenger") is None
    with pytest.raises(NotFound, match="no version of 'm' is registered"):
        registry.get("m", "1")


def test_quote_in_a_name_cannot_leave_the_filter(tmp_path: Path) -> None:
    registry = _registry(tmp_path, lambda request: {})
    with pytest.raises(InvalidInput, match="contains a quote"):
        registry.versions("m' or name like '%")
