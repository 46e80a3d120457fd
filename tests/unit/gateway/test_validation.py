"""Any JSON is either a valid request or an `ApiError`; nothing else escapes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.body import MAX_DEPTH, parse_json
from serving.gateway.openai_errors import ApiError
from serving.gateway.validation import Kind, parse_ask

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_fields = st.sampled_from(
    ["messages", "prompt", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature",
     "stop", "seed", "user", "metadata", "safety_identifier", "n", "tools", "logit_bias", "response_format"]
)  # fmt: skip
_message = st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "x"]) | _json, "content": _json})
_bodies = st.dictionaries(_fields, _json | st.lists(_message, max_size=3), max_size=8)
VALID = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@settings(deadline=None, max_examples=100)
@given(body=_json | _bodies, kind=st.sampled_from(["chat", "text"]))
def test_any_body_is_a_request_or_a_named_refusal(body: Any, kind: Kind) -> None:
    try:
        ask = parse_ask(body, kind)
    except ApiError as error:
        _assert_told(error)
    else:
        assert ask.text.strip()


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_json_or_a_named_refusal(data: bytes) -> None:
    try:
        value = parse_json(data)
    except ApiError as error:
        _assert_told(error)
    else:
        assert value == json.loads(data)


@settings(deadline=None, max_examples=100)
@given(value=_json.filter(lambda value: "\\u0000" not in json.dumps(value)))
def test_ordinary_json_is_read_as_python_reads_it(value: Any) -> None:
    data = json.dumps(value).encode()
    if "\\ud" not in data.decode():
        assert parse_json(data) == json.loads(data)


def test_the_deepest_allowed_nesting_is_read_and_one_more_refused() -> None:
    parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(ApiError, match="nested deeper"):
        parse_json(b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2))


def test_null_and_neutral_values_are_as_good_as_absent() -> None:
    neutral = {"n": 1, "top_p": 1.0, "tools": [], "logit_bias": {}, "logprobs": False, "stop": None, "seed": None}
    assert parse_ask(VALID | neutral, "chat") == parse_ask(VALID, "chat")


def test_an_assistant_turn_as_the_client_dumps_it_is_accepted() -> None:
    dumped: dict[str, Any] = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": [],
        "tool_calls": None,
        "audio": None,
    }
    ask = parse_ask(VALID | {"messages": [VALID["messages"][0], dumped, VALID["messages"][0]]}, "chat")
    assert [message.role for message in ask.messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("roles", "first"),
    [(["user"], True), (["system", "user"], True), (["user", "user"], False), (["user", "assistant", "user"], False)],
)
def test_a_first_turn_is_exactly_one_user_message(roles: list[str], first: bool) -> None:
    messages = [{"role": role, "content": "x"} for role in roles]
    assert parse_ask({"model": "m", "messages": messages}, "chat").first_turn is first


def test_text_parts_are_joined_and_developer_is_a_system_turn() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "rules"}, {"role": "user", "content": parts}]
    ask = parse_ask({"model": "m", "messages": messages}, "chat")
    assert [(m.role, m.content) for m in ask.messages] == [("system", "rules"), ("user", "ab")]


def test_the_customer_comes_from_metadata_and_the_user_from_the_newer_field() -> None:
    ask = parse_ask(VALID | {"user": "old", "safety_identifier": "new", "metadata": {"customer_id": "c1"}}, "chat")
    assert (ask.user, ask.customer) == ("new", "c1")


def _assert_told(error: ApiError) -> None:
    assert 400 <= error.status < 500
    assert error.message
    assert set(json.loads(json.dumps(error.body(), allow_nan=False))["error"]) == {"message", "type", "param", "code"}
