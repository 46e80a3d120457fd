"""What users see when engines fail: a retry they do not notice, or an error they can read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from tests.integration.gateway.conftest import Platform
from tests.integration.gateway.engine import Mode, running_engine
from tests.unit.gateway.tables import MODEL

pytestmark = pytest.mark.integration
CANDIDATE, STABLE = "banking-intent/2", "banking-intent/1"


def _arms(platform: Platform) -> dict[str, tuple[int, int]]:
    """(requests, errors) by version, of the epoch in force."""
    counts: dict[str, tuple[int, int]] = {}
    for window in platform.evidence.windows(MODEL):
        if window.epoch == platform.epoch:
            requests, errors = counts.get(window.version, (0, 0))
            counts[window.version] = (requests + window.requests, errors + window.errors)
    return counts


@pytest.mark.parametrize("mode", ["500", "503", "html", "early-die"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_candidate_costs_the_user_nothing_and_its_rollout_an_error(
    platform: Platform, mode: Mode, stream: bool
) -> None:
    platform.route(candidate_weight=100.0)
    platform.engine.modes[CANDIDATE] = mode
    response = platform.ask(stream=stream)
    assert response.status_code == 200
    assert "banking-intent/1" in _text(response)
    assert response.headers["x-tidegate-version"] == "1"
    assert response.headers["x-tidegate-rollout"] == "r1"
    platform.wait(lambda: _arms(platform) == {"2": (1, 1)})


@pytest.mark.parametrize("stream", [False, True])
def test_a_candidate_that_cannot_be_reached_is_replaced_by_the_stable_arm(platform: Platform, stream: bool) -> None:
    table = platform.route(candidate_weight=100.0)
    candidate = table.arms[1].model_copy(update={"target": "http://127.0.0.1:9"})
    platform.epoch += 1
    platform.routing.publish(table.model_copy(update={"arms": (table.arms[0], candidate), "epoch": platform.epoch}))
    platform.wait(lambda: platform.epoch in platform.routing.acks(MODEL).values())
    assert platform.ask(stream=stream).headers["x-tidegate-version"] == "1"
    platform.wait(lambda: _arms(platform) == {"2": (1, 1)})


def test_a_restarting_engine_is_asked_again_and_counts_one_error(platform: Platform) -> None:
    platform.engine.fail_first = 3
    assert platform.ask().status_code == 200
    platform.wait(lambda: _arms(platform) == {"1": (1, 1)})


@pytest.mark.parametrize("mode", ["die", "error-event", "no-done"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_stream_that_breaks_off_ends_in_an_error_event_never_in_done(
    platform: Platform, mode: Mode, path: str
) -> None:
    platform.engine.modes[STABLE] = mode
    prompt = {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x"}]}
    response = platform.post(path, json={"model": MODEL, "stream": True} | prompt)
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert "[DONE]" not in events
    error = json.loads(events[-1])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "server_error"
    platform.wait(lambda: _arms(platform) == {"1": (1, 1)})


def test_the_official_client_raises_when_a_stream_breaks_off(platform: Platform) -> None:
    platform.engine.modes[STABLE] = "die"
    stream = platform.client().chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(openai.APIError, match="not available"):
        list(stream)


def test_what_both_arms_refuse_is_the_clients_fault_and_no_ones_error(platform: Platform) -> None:
    platform.route(candidate_weight=100.0)
    platform.engine.modes |= {STABLE: "refuse", CANDIDATE: "refuse"}
    response = platform.ask()
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    platform.engine.modes.clear()
    assert platform.ask().status_code == 200
    platform.wait(lambda: _arms(platform) == {"2": (1, 0)})


def test_what_only_the_candidate_refuses_is_its_error(platform: Platform) -> None:
    platform.route(candidate_weight=100.0)
    platform.engine.modes[CANDIDATE] = "refuse"
    assert platform.ask().status_code == 200
    platform.wait(lambda: _arms(platform) == {"2": (1, 1)})


def test_an_unusable_answer_of_the_only_arm_is_a_502(platform: Platform) -> None:
    platform.engine.modes[STABLE] = "html"
    response = platform.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (502, "engine_invalid")
    assert response.headers["x-tidegate-version"] == "1"


def test_a_hanging_candidate_leaves_time_for_the_stable_arm(fresh: Callable[..., Platform]) -> None:
    platform = fresh(TIDEGATE_LIMITS__TIMEOUT_SECONDS="10")
    platform.start()
    platform.route(candidate_weight=100.0)
    platform.engine.modes[CANDIDATE] = "hang"
    for stream in (False, True):
        response = platform.ask(stream=stream)
        assert (response.status_code, response.headers["x-tidegate-version"]) == (200, "1")
    platform.engine.modes[STABLE] = "hang"
    response = platform.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "engine_timeout")
    assert platform.metric("tidegate_gateway_arm_failures_total") == 4


def test_more_requests_than_allowed_are_told_to_come_back(fresh: Callable[..., Platform]) -> None:
    platform = fresh(TIDEGATE_LIMITS__MAX_CONCURRENCY="2")
    platform.start()
    platform.route()
    platform.engine.held = True
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(platform.ask, stream=stream) for stream in (False, True)]
        platform.wait(lambda: platform.metric("tidegate_gateway_in_flight") == 2)
        refused = platform.ask()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert httpx.get(f"{platform.url}/healthz", timeout=30).status_code == 200
        platform.engine.held = False
        assert [future.result().status_code for future in waiting] == [200, 200]
    platform.wait(lambda: platform.metric("tidegate_gateway_in_flight") == 0)


def test_an_engine_that_comes_back_within_the_deadline_hides_its_restart(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    platform.start()
    with running_engine(platform.engine) as gone:
        pass
    platform.engine_url = gone
    platform.route()
    back = threading.Event()
    done = threading.Event()

    def restart() -> None:
        back.wait(1.0)
        with running_engine(platform.engine, port=int(gone.rsplit(":", 1)[1])):
            done.wait(30)

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        assert platform.ask().status_code == 200
    finally:
        done.set()
        thread.join()


def _text(response: httpx.Response) -> str:
    if not response.headers["content-type"].startswith("text/event-stream"):
        return str(response.json()["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
