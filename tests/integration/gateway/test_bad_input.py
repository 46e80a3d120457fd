"""O2: every bad input is a 4xx with the full error object, and the gateway goes on serving."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import Platform
from tests.unit.gateway.tables import MODEL

pytestmark = pytest.mark.integration

USER = {"role": "user", "content": "x"}
CHAT, TEXT, FEEDBACK = "/v1/chat/completions", "/v1/completions", "/v1/feedback"


def _chat(**fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "messages": [USER]} | fields).encode()


def _text(**fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "prompt": "x"} | fields).encode()


def _messages(*messages: Any) -> bytes:
    return _chat(messages=list(messages))


# Each: a name, the path, the body; the wanted status, code and param.
CASES: list[tuple[str, str, bytes, int, str, str | None]] = [
    ("empty body", CHAT, b"", 400, "invalid_json", None),
    ("blank body", CHAT, b"  \n ", 400, "invalid_json", None),
    ("broken JSON", CHAT, b'{"model": ', 400, "invalid_json", None),
    ("two JSON values", CHAT, b"{}{}", 400, "invalid_json", None),
    ("byte order mark", CHAT, b"\xef\xbb\xbf{}", 400, "invalid_json", None),
    ("invalid UTF-8", CHAT, b'{"model": "\xff"}', 400, "invalid_utf8", None),
    ("UTF-16", CHAT, '{"model": "x"}'.encode("utf-16"), 400, "invalid_utf8", None),
    ("NaN", CHAT, b'{"temperature": NaN}', 400, "invalid_json", None),
    ("infinity", CHAT, b'{"temperature": -Infinity}', 400, "invalid_json", None),
    ("float overflow", CHAT, b'{"temperature": 1e999}', 400, "invalid_json", None),
    ("huge integer", CHAT, b'{"seed": ' + b"9" * 5000 + b"}", 400, "invalid_json", None),
    ("deep arrays", CHAT, b"[" * 30000 + b"]" * 30000, 400, "invalid_json", None),
    ("deep objects", CHAT, b'{"a":' * 40 + b"1" + b"}" * 40, 400, "invalid_json", None),
    ("lone surrogate", CHAT, _messages({"role": "user", "content": "\ud800"}), 400, "invalid_text", None),
    ("NUL", CHAT, _messages({"role": "user", "content": "a\x00b"}), 400, "invalid_text", None),
    ("too large", CHAT, _messages({"role": "user", "content": "x" * 70000}), 413, "request_too_large", None),
    ("null", CHAT, b"null", 400, "invalid_type", None),
    ("an array", CHAT, b"[]", 400, "invalid_type", None),
    ("a string", CHAT, b'"x"', 400, "invalid_type", None),
    ("no model", CHAT, b'{"messages": []}', 400, "missing_required_parameter", "model"),
    ("model null", CHAT, _chat(model=None), 400, "missing_required_parameter", "model"),
    ("model number", CHAT, _chat(model=7), 400, "invalid_type", "model"),
    ("model empty", CHAT, _chat(model=""), 400, "invalid_value", "model"),
    ("model unknown", CHAT, _chat(model="gpt-4o"), 404, "model_not_found", "model"),
    ("model is an adapter", CHAT, _chat(model="banking-intent/1"), 404, "model_not_found", "model"),
    ("model very long", CHAT, _chat(model="m" * 1000), 400, "invalid_value", "model"),
    ("no messages", CHAT, b'{"model": "m"}', 400, "missing_required_parameter", "messages"),
    ("messages empty", CHAT, _chat(messages=[]), 400, "empty_array", "messages"),
    ("messages string", CHAT, _chat(messages="x"), 400, "invalid_type", "messages"),
    ("messages object", CHAT, _chat(messages={}), 400, "invalid_type", "messages"),
    ("too many messages", CHAT, _chat(messages=[USER] * 129), 400, "array_above_max_length", "messages"),
    ("message string", CHAT, _messages("x"), 400, "invalid_type", "messages[0]"),
    ("message null", CHAT, _messages(USER, None), 400, "invalid_type", "messages[1]"),
    ("no role", CHAT, _messages({"content": "x"}), 400, "missing_required_parameter", "messages[0].role"),
    ("role number", CHAT, _messages({"role": 1, "content": "x"}), 400, "invalid_type", "messages[0].role"),
    ("role unknown", CHAT, _messages({"role": "tool", "content": "x"}), 400, "invalid_value", "messages[0].role"),
    ("no content", CHAT, _messages({"role": "user"}), 400, "missing_required_parameter", "messages[0].content"),
    (
        "content null",
        CHAT,
        _messages(USER | {"content": None}),
        400,
        "missing_required_parameter",
        "messages[0].content",
    ),
    ("content empty", CHAT, _messages(USER | {"content": " "}), 400, "empty_string", "messages[0].content"),
    ("content number", CHAT, _messages(USER | {"content": 1}), 400, "invalid_type", "messages[0].content"),
    ("parts empty", CHAT, _messages(USER | {"content": []}), 400, "empty_string", "messages[0].content"),
    ("part string", CHAT, _messages(USER | {"content": ["x"]}), 400, "invalid_type", "messages[0].content[0]"),
    (
        "image part",
        CHAT,
        _messages(USER | {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        400,
        "unsupported_parameter",
        "messages[0].content[0].type",
    ),
    (
        "text part without text",
        CHAT,
        _messages(USER | {"content": [{"type": "text"}]}),
        400,
        "invalid_type",
        "messages[0].content[0].text",
    ),
    ("name", CHAT, _messages(USER | {"name": "bob"}), 400, "unsupported_parameter", "messages[0].name"),
    ("message extra", CHAT, _messages(USER | {"colour": "red"}), 400, "unknown_parameter", "messages[0].colour"),
    ("no user message", CHAT, _messages({"role": "system", "content": "x"}), 400, "invalid_value", "messages"),
    ("n", CHAT, _chat(n=2), 400, "unsupported_parameter", "n"),
    ("n as boolean", CHAT, _chat(n=True), 400, "unsupported_parameter", "n"),
    ("tools", CHAT, _chat(tools=[{"type": "function"}]), 400, "unsupported_parameter", "tools"),
    ("logprobs", CHAT, _chat(logprobs=True), 400, "unsupported_parameter", "logprobs"),
    ("top_p", CHAT, _chat(top_p=0.5), 400, "unsupported_parameter", "top_p"),
    (
        "JSON mode",
        CHAT,
        _chat(response_format={"type": "json_object"}),
        400,
        "unsupported_parameter",
        "response_format",
    ),
    ("penalty", CHAT, _chat(presence_penalty=1), 400, "unsupported_parameter", "presence_penalty"),
    ("unknown parameter", CHAT, _chat(temprature=1), 400, "unknown_parameter", "temprature"),
    ("prompt for chat", CHAT, _chat(prompt="x"), 400, "unknown_parameter", "prompt"),
    ("max_tokens zero", CHAT, _chat(max_tokens=0), 400, "invalid_value", "max_tokens"),
    ("max_tokens negative", CHAT, _chat(max_completion_tokens=-1), 400, "invalid_value", "max_completion_tokens"),
    ("max_tokens float", CHAT, _chat(max_tokens=1.5), 400, "invalid_type", "max_tokens"),
    ("max_tokens string", CHAT, _chat(max_tokens="9"), 400, "invalid_type", "max_tokens"),
    ("both limits", CHAT, _chat(max_tokens=1, max_completion_tokens=1), 400, "invalid_value", "max_tokens"),
    ("temperature high", CHAT, _chat(temperature=2.1), 400, "invalid_value", "temperature"),
    ("temperature low", CHAT, _chat(temperature=-0.1), 400, "invalid_value", "temperature"),
    ("temperature boolean", CHAT, _chat(temperature=True), 400, "invalid_type", "temperature"),
    ("stream string", CHAT, _chat(stream="true"), 400, "invalid_type", "stream"),
    ("stream number", CHAT, _chat(stream=1), 400, "invalid_type", "stream"),
    ("stream options alone", CHAT, _chat(stream_options={}), 400, "invalid_value", "stream_options"),
    ("stream options list", CHAT, _chat(stream=True, stream_options=[]), 400, "invalid_type", "stream_options"),
    (
        "stream option unknown",
        CHAT,
        _chat(stream=True, stream_options={"x": True}),
        400,
        "unknown_parameter",
        "stream_options.x",
    ),
    ("stop number", CHAT, _chat(stop=1), 400, "invalid_type", "stop"),
    ("stop empty", CHAT, _chat(stop=""), 400, "invalid_value", "stop[0]"),
    ("stop items", CHAT, _chat(stop=["a", 1]), 400, "invalid_type", "stop[1]"),
    ("stops many", CHAT, _chat(stop=list("abcde")), 400, "array_above_max_length", "stop"),
    ("seed float", CHAT, _chat(seed=0.5), 400, "invalid_type", "seed"),
    ("seed huge", CHAT, _chat(seed=1 << 70), 400, "invalid_value", "seed"),
    ("user number", CHAT, _chat(user=1), 400, "invalid_type", "user"),
    ("user long", CHAT, _chat(user="u" * 300), 400, "invalid_value", "user"),
    ("user with a control character", CHAT, _chat(user="a\nb"), 400, "invalid_value", "user"),
    ("metadata string", CHAT, _chat(metadata="x"), 400, "invalid_type", "metadata"),
    ("metadata value", CHAT, _chat(metadata={"customer_id": 7}), 400, "invalid_type", "metadata.customer_id"),
    ("customer empty", CHAT, _chat(metadata={"customer_id": ""}), 400, "invalid_value", "metadata.customer_id"),
    ("no prompt", TEXT, b'{"model": "m"}', 400, "missing_required_parameter", "prompt"),
    ("prompt empty", TEXT, _text(prompt=""), 400, "empty_string", "prompt"),
    ("prompt tokens", TEXT, _text(prompt=[1, 2]), 400, "unsupported_parameter", "prompt"),
    ("prompts", TEXT, _text(prompt=["a", "b"]), 400, "unsupported_parameter", "prompt"),
    ("prompt number", TEXT, _text(prompt=1), 400, "invalid_type", "prompt"),
    ("echo", TEXT, _text(echo=True), 400, "unsupported_parameter", "echo"),
    ("suffix", TEXT, _text(suffix="x"), 400, "unsupported_parameter", "suffix"),
    ("messages for text", TEXT, _text(messages=[USER]), 400, "unknown_parameter", "messages"),
    ("feedback empty list", FEEDBACK, b"[]", 400, "invalid_value", None),
    ("feedback string", FEEDBACK, b'"x"', 400, "invalid_type", "body"),
    ("feedback without value", FEEDBACK, b'{"request_id": "r"}', 400, "missing_required_parameter", "label"),
    ("feedback with both", FEEDBACK, b'{"request_id": "r", "label": "x", "rating": 1}', 400, "invalid_value", "rating"),
    ("rating high", FEEDBACK, b'{"request_id": "r", "rating": 1.1}', 400, "invalid_value", "rating"),
    ("rating boolean", FEEDBACK, b'{"request_id": "r", "rating": true}', 400, "invalid_type", "rating"),
    ("rating without request", FEEDBACK, b'{"rating": 1}', 400, "missing_required_parameter", "request_id"),
    ("feedback extra", FEEDBACK, b'{"request_id": "r", "rating": 1, "x": 1}', 400, "unknown_parameter", "x"),
    ("feedback model", FEEDBACK, b'{"request_id": "r", "rating": 1, "model": "m"}', 400, "model_not_found", "model"),
    ("label without the role", FEEDBACK, b'{"request_id": "r", "label": "x"}', 403, "insufficient_permissions", None),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_bad_body_is_refused_with_the_full_error_object(
    platform_once: Platform, path: str, body: bytes, status: int, code: str, param: str | None
) -> None:
    response = platform_once.post(path, content=body, headers={"content-type": "application/json"})
    _assert_error(response, status, code, param)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", CHAT, {"authorization": ""}, 401, "invalid_api_key"),
        ("POST", CHAT, {"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ("POST", CHAT, {"authorization": "Basic dTpw"}, 401, "invalid_api_key"),
        ("POST", CHAT, {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", CHAT, {"content-type": ""}, 415, "unsupported_media_type"),
        ("POST", CHAT, {"content-type": "application/json; charset=latin-1"}, 415, "unsupported_media_type"),
        ("POST", CHAT, {"content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
        ("GET", CHAT, {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
        ("GET", "/v1/models", {"authorization": ""}, 401, "invalid_api_key"),
        ("GET", "/v1/models/gpt-4o", {}, 404, "model_not_found"),
        ("POST", "/v1/embeddings", {}, 404, "unknown_url"),
        ("GET", "/", {}, 404, "unknown_url"),
        ("POST", "/v1/chat/completions/", {}, 404, "unknown_url"),
        ("GET", "/../../etc/passwd", {}, 404, "unknown_url"),
        ("POST", FEEDBACK, {"authorization": ""}, 401, "invalid_api_key"),
    ],
)
def test_a_bad_call_is_refused_with_the_full_error_object(
    platform_once: Platform, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    sent = {"authorization": f"Bearer {platform_once.key}", "content-type": "application/json"} | headers
    response = httpx.request(method, f"{platform_once.url}{path}", content=_chat(), headers=sent)
    _assert_error(response, status, code)


def test_a_body_without_a_declared_length_is_cut_off_at_the_limit(platform_once: Platform) -> None:
    def endless() -> Any:
        while True:
            yield b" " * 65536

    try:
        response = platform_once.post(CHAT, content=endless(), headers={"content-type": "application/json"})
    except httpx.TransportError:
        return  # the gateway closed the connection while we were still sending
    _assert_error(response, 413, "request_too_large")


def test_a_hanging_up_client_disturbs_nobody(platform_once: Platform) -> None:
    host, port = platform_once.url.removeprefix("http://").split(":")
    for sent in (b"", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{", b"\x16\x03\x01"):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(sent)
    assert platform_once.ask().status_code == 200


def test_after_all_that_no_request_has_reached_the_engine_as_a_failure(platform_once: Platform) -> None:
    assert platform_once.metric("tidegate_gateway_arm_failures_total") == 0
    assert '"level": "error"' not in (platform_once.home / "gateway.log").read_text()


@pytest.fixture(scope="module")
def platform_once(shared_platform: Platform) -> Platform:
    return shared_platform


def _assert_error(response: httpx.Response, status: int, code: str, param: str | None = None) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"] if param else None) == (code, param)
    assert len(error["message"]) > 10
    assert error["type"] in ("invalid_request_error", "authentication_error", "permission_error")
    assert response.headers["x-request-id"]
