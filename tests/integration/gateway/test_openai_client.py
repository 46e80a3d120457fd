"""O1: the official client works unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.integration.gateway.conftest import Platform
from tests.unit.gateway.tables import MODEL

pytestmark = pytest.mark.integration


def test_the_official_client_gets_a_chat_completion(platform: Platform) -> None:
    raw = platform.client().chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "where is my card?"}],
        max_tokens=4,
        temperature=0.5,
        stop="x",
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "answer of banking-intent/1"
    assert (answer.model, answer.choices[0].finish_reason) == (MODEL, "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert raw.headers["x-tidegate-version"] == "1"
    assert "x-tidegate-rollout" not in raw.headers
    assert answer.id == f"chatcmpl-{raw.headers['x-request-id']}"
    asked = platform.engine.asked[-1]
    assert [m["role"] for m in asked["messages"]] == ["system", "user"]
    assert (asked["max_tokens"], asked["temperature"], asked["stop"]) == (4, 0.5, ["\n", "x"])


def test_max_tokens_may_narrow_but_not_widen_the_versions_limit(platform: Platform) -> None:
    assert platform.ask(max_tokens=4000).status_code == 200
    assert platform.engine.asked[-1]["max_tokens"] == 16


def test_a_stream_carries_text_under_the_logical_name_and_usage_last(platform: Platform) -> None:
    stream = platform.client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert len({chunk.id for chunk in chunks}) == 1
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "answer of banking-intent/1"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10


def test_a_stream_without_include_usage_has_no_usage_chunk(platform: Platform) -> None:
    response = platform.ask(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    assert '"choices":[]' not in response.text


def test_the_legacy_completions_api_works_whole_and_streamed(platform: Platform) -> None:
    client = platform.client()
    whole = client.completions.create(model=MODEL, prompt="hello")
    assert (whole.object, whole.choices[0].text) == ("text_completion", "answer of banking-intent/1")
    streamed = client.completions.create(model=MODEL, prompt="hello", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "answer of banking-intent/1"


def test_models_are_listed_by_logical_name(platform: Platform) -> None:
    client = platform.client()
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "tidegate"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("banking-intent/1")
    assert caught.value.code == "model_not_found"


def test_the_official_client_raises_its_own_errors(platform: Platform) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.AuthenticationError) as unauthenticated:
        platform.client(api_key="wrong").chat.completions.create(model=MODEL, messages=messages)
    assert unauthenticated.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError):
        platform.client(api_key=platform.label_key).models.list()
    with pytest.raises(openai.BadRequestError) as bad:
        platform.client().chat.completions.create(model=MODEL, messages=messages, n=2)
    assert (bad.value.param, bad.value.code) == ("n", "unsupported_parameter")


def test_an_incoming_request_id_is_echoed_and_an_unfit_one_replaced(platform: Platform) -> None:
    def echoed(given: str) -> str:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
        return platform.post(json=body, headers={"x-request-id": given}).headers["x-request-id"]

    assert echoed("my-request.1") == "my-request.1"
    assert echoed("a b") != "a b"
    assert len(echoed("x" * 129)) == 26


def test_the_async_client_works_too(platform: Platform) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=platform.key) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == "answer of banking-intent/1"
