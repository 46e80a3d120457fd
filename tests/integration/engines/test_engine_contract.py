"""The contract of an engine, whichever is behind it: OpenAI's API, adapters that come and go, failures that show."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.integration.engines.conftest import BASE, Engine
from tests.integration.engines.platform import until
from tidegate.ports import AdapterSlot

pytestmark = pytest.mark.integration

LONG = 400
"""Tokens of an answer that is still running when something happens to it."""


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="unused", max_retries=0, timeout=120)


def ask(client: openai.OpenAI, model: str, text: str = "my card has not arrived", **options: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **{"max_tokens": 4, "temperature": 0, **options}
    )
    return answer


def test_a_chat_completion_has_text_reason_and_usage(client: openai.OpenAI, slots: Sequence[AdapterSlot]) -> None:
    answer = ask(client, slots[0].id)
    assert answer.model == slots[0].id
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 4


def test_a_stream_ends_with_a_reason_and_one_usage_chunk(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=BASE,
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4


def test_text_completions_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=BASE, prompt="The capital of France is", max_tokens=4, temperature=0)
    stream = client.completions.create(
        model=BASE, prompt="The capital of France is", max_tokens=4, temperature=0, stream=True
    )
    assert "Paris" in whole.choices[0].text
    assert "Paris" in "".join(chunk.choices[0].text for chunk in stream)


def test_the_base_and_the_adapters_are_models(client: openai.OpenAI, slots: Sequence[AdapterSlot]) -> None:
    assert {model.id for model in client.models.list()} == {BASE, slots[0].id, slots[1].id}
    assert client.models.retrieve(slots[0].id).id == slots[0].id


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"model": "banking-intent/99"}, openai.NotFoundError, "model_not_found"),
        ({"n": 2}, openai.BadRequestError, "unsupported_parameter"),
        ({"logprobs": True}, openai.BadRequestError, "unsupported_parameter"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value"),
        ({"max_tokens": 5000}, openai.BadRequestError, "context_length_exceeded"),
        ({"text": "card " * 600}, openai.BadRequestError, "context_length_exceeded"),
        ({"text": "card " * 600, "stream": True}, openai.BadRequestError, "context_length_exceeded"),
    ],
)
def test_a_bad_request_raises_the_clients_own_error(
    client: openai.OpenAI, options: dict[str, Any], error: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as raised:
        ask(client, **({"model": BASE} | options))
    assert raised.value.code == code
    assert isinstance(raised.value.body, dict)
    assert set(raised.value.body) == {"message", "type", "param", "code"}


def test_an_unknown_path_is_an_error_object(engine: Engine) -> None:
    answer = httpx.post(f"{engine.url}/v1/embeddings", json={}, timeout=60)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_a_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    text = ask(client, BASE, "Tell me about Paris.", max_tokens=12).choices[0].message.content or ""
    stop = text[len(text) // 2 :][:3]
    cut = ask(client, BASE, "Tell me about Paris.", max_tokens=12, stop=stop).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == text[: text.index(stop)]
    assert len(stop) == 3


def test_requests_for_different_adapters_are_answered_together(
    client: openai.OpenAI, slots: Sequence[AdapterSlot]
) -> None:
    models = [BASE, slots[0].id, slots[1].id] * 6
    with ThreadPoolExecutor(len(models)) as pool:
        answers = list(pool.map(lambda model: ask(client, model, "hello"), models))
    assert [answer.model for answer in answers] == models
    assert len({answer.choices[0].message.content for answer in answers[:3]}) == 3, "adapters must answer differently"


def test_a_client_that_leaves_frees_its_row(client: openai.OpenAI, engine: Engine) -> None:
    stream = client.chat.completions.create(
        model=BASE, messages=[{"role": "user", "content": "Write a long story."}], max_tokens=LONG, stream=True
    )
    next(stream)
    assert engine.requests() == 1
    stream.close()
    until("the row is free", lambda: engine.requests() == 0, seconds=60)


def test_adapters_come_and_go_while_requests_run(
    client: openai.OpenAI, engine: Engine, slots: Sequence[AdapterSlot]
) -> None:
    before = engine.replica()
    failures: list[Exception] = []
    answered = [0]
    stop = threading.Event()

    def traffic(model: str) -> None:
        while not stop.is_set():
            try:
                ask(client, model, max_tokens=3)
                answered[0] += 1
            except openai.OpenAIError as error:
                failures.append(error)

    with ThreadPoolExecutor(4) as pool:
        for model in (slots[0].id, slots[1].id, BASE, slots[0].id):
            pool.submit(traffic, model)
        try:
            for _ in range(3):
                engine.declare_and_wait(*slots)
                assert ask(client, slots[2].id).model == slots[2].id
                engine.declare_and_wait(*slots[:2])
                until("it is gone", lambda: engine.gone(slots[2].id), seconds=60)
        finally:
            stop.set()
    assert failures == []
    assert answered[0] > 8
    assert engine.replica() == before, "adapters must be loaded without a restart"


def test_declaring_the_same_again_changes_nothing(engine: Engine, slots: Sequence[AdapterSlot]) -> None:
    engine.declare_and_wait(*slots[:2])
    before = engine.application()["last_deployed_time_s"]
    engine.declare(*slots[:2])
    assert engine.application()["last_deployed_time_s"] == before


def test_an_engine_says_how_many_replicas_it_has_and_on_how_many_nodes(engine: Engine) -> None:
    engine.wait()
    status = engine.known()
    assert (status.replicas_ready, status.replicas_wanted, status.workers) == (1, 1, 1)


def test_a_bad_adapter_is_reported_and_breaks_no_other(
    client: openai.OpenAI, engine: Engine, slots: Sequence[AdapterSlot]
) -> None:
    bad = slots[2].model_copy(update={"digest": "sha256:" + "0" * 64})
    engine.declare(*slots[:2], bad)
    until("the bad one is reported", lambda: "digest" in engine.message(), seconds=60)
    status = engine.known()
    assert not status.ready
    assert set(status.adapters) == {slots[0].id, slots[1].id}
    assert ask(client, slots[0].id).choices
    with pytest.raises(openai.NotFoundError):
        ask(client, bad.id)
    engine.declare_and_wait(*slots)  # the same id with the right digest is loaded
    engine.declare_and_wait(*slots[:2])


def test_a_killed_replica_breaks_the_stream_and_is_replaced(
    client: openai.OpenAI, engine: Engine, slots: Sequence[AdapterSlot]
) -> None:
    replica, pid = engine.replica()
    body = {"model": BASE, "messages": [{"role": "user", "content": "Write a story."}], "max_tokens": LONG}
    received = ""
    broken = False
    with httpx.stream("POST", f"{engine.url}/v1/chat/completions", json=body | {"stream": True}, timeout=60) as stream:
        try:
            for text in stream.iter_text():
                if not received:
                    os.kill(pid, signal.SIGKILL)
                received += text
        except httpx.TransportError:
            broken = True
    assert broken or '"error"' in received
    assert "[DONE]" not in received

    until("the replica is gone", lambda: not engine.ready(), seconds=30)
    engine.wait()
    assert engine.replica()[0] != replica
    assert ask(client, slots[0].id).model == slots[0].id, "the new replica has the adapters before it takes requests"
