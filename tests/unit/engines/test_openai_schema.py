"""Bad requests are answered with OpenAI's error object that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.engines.openai_schema import ApiError, ChatCompletionRequest, CompletionRequest, parse

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def chat(**change: Any) -> ChatCompletionRequest:
    return parse(ChatCompletionRequest, json.dumps(GOOD | change).encode())


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_value"),
        ({"model": ""}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hello"}, "messages", "invalid_value"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": "warm"}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": -1}, "max_completion_tokens", "invalid_value"),
        ({"seed": 1.5}, "seed", "invalid_value"),
        ({"stop": ["a", "b", "c", "d", "e"]}, None, "invalid_value"),
        ({"stop": [""]}, None, "invalid_value"),
        ({"stream_options": {"include_usage": True}}, None, "invalid_value"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"top_logprobs": 3}, "top_logprobs", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"logit_bias": {"50256": -100}}, "logit_bias", "unsupported_parameter"),
        ({"presence_penalty": 0.5}, "presence_penalty", "unsupported_parameter"),
        ({"temprature": 0.5}, "temprature", "unknown_parameter"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], param: str | None, code: str) -> None:
    with pytest.raises(ApiError) as raised:
        chat(**change)
    error = raised.value.body["error"]
    assert (raised.value.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}"])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as raised:
        parse(ChatCompletionRequest, body)
    assert raised.value.status == 400


@pytest.mark.parametrize("neutral", [{"n": 1}, {"logprobs": False}, {"tools": []}, {"frequency_penalty": 0.0}])
def test_an_unsupported_field_with_its_neutral_value_is_no_error(neutral: dict[str, Any]) -> None:
    assert chat(**neutral).model == "m"


def test_content_in_parts_is_joined_and_developer_means_system() -> None:
    turn = {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    message = chat(messages=[turn]).messages[0].message()
    assert (message.role, message.content) == ("system", "ab")


def test_the_newer_token_limit_wins() -> None:
    assert chat(max_tokens=5, max_completion_tokens=7).token_limit == 7
    assert chat().token_limit is None


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2, 3], [], "", None])
def test_text_completions_take_one_text(prompt: Any) -> None:
    with pytest.raises(ApiError):
        parse(CompletionRequest, json.dumps({"model": "m", "prompt": prompt}).encode())
