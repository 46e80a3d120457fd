"""What a gateway leaves behind: pairs, arm counts, feedback, the inference log; and what it survives."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import Platform
from tests.unit.gateway.tables import MODEL, table
from tidegate.inference_log import read_window

pytestmark = pytest.mark.integration
CANDIDATE, STABLE = "banking-intent/2", "banking-intent/1"


def _log(platform: Platform) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    window = read_window(platform.home / "inference-log", MODEL, now - timedelta(hours=1), now + timedelta(hours=1))
    return [dict(row) for row in window.to_pylist()]


def _pairs(platform: Platform) -> list[Any]:
    return [pair for pair in platform.evidence.pairs("r1") if pair.epoch == platform.epoch]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("weight", [0.0, 100.0])
def test_a_mirrored_first_turn_becomes_a_pair_of_both_arms(platform: Platform, weight: float, stream: bool) -> None:
    platform.route(candidate_weight=weight, mirror=100.0)
    response = platform.ask("my mail is a.b@example.org", user=f"user-{weight}-{stream}", stream=stream)
    platform.wait(lambda: len(_pairs(platform)) == 1)
    pair = _pairs(platform)[0]
    assert (pair.stable.text, pair.candidate.text) == ("answer of banking-intent/1", "answer of banking-intent/2")
    assert pair.shown == ("stable" if weight == 0 else "candidate")
    assert pair.request_id == response.headers["x-request-id"]
    assert pair.text == "my mail is <email>"
    assert "user" not in pair.user
    assert len({json.dumps(asked["messages"]) for asked in platform.engine.asked}) == 1


def test_a_user_is_mirrored_once_per_rollout_and_later_turns_never(platform: Platform) -> None:
    platform.route(candidate_weight=0.0, mirror=100.0)
    turns = [{"role": r, "content": "x"} for r in ("user", "assistant", "user")]
    platform.post(json={"model": MODEL, "messages": turns, "user": "once"})
    for _ in range(3):
        platform.ask(user="once")
    platform.ask(user="another")
    platform.wait(lambda: len(_pairs(platform)) == 2)
    assert len(platform.engine.asked) == 7


def test_a_mirrored_candidate_that_fails_has_lost_and_users_do_not_see_it(platform: Platform) -> None:
    platform.route(candidate_weight=0.0, mirror=100.0)
    platform.engine.modes[CANDIDATE] = "500"
    assert platform.ask(user="loser").status_code == 200
    platform.wait(lambda: len(_pairs(platform)) == 1)
    assert (_pairs(platform)[0].candidate.outcome, _pairs(platform)[0].candidate.text) == ("error", None)
    windows = [w for w in platform.evidence.windows(MODEL) if w.epoch == platform.epoch]
    assert {w.role for w in windows} <= {"stable"}


def test_a_shown_candidate_that_fails_makes_a_pair_without_another_question(platform: Platform) -> None:
    platform.route(candidate_weight=100.0, mirror=100.0)
    platform.engine.modes[CANDIDATE] = "500"
    platform.ask(user="fallback")
    platform.wait(lambda: len(_pairs(platform)) == 1)
    pair = _pairs(platform)[0]
    assert (pair.shown, pair.stable.outcome, pair.candidate.outcome) == ("stable", "ok", "error")
    assert len(platform.engine.asked) == 2


def test_an_engine_that_fails_both_arms_makes_no_pair_and_one_error_of_the_users_arm(platform: Platform) -> None:
    platform.route(candidate_weight=100.0, mirror=100.0)
    platform.engine.fail_first = 2
    assert platform.ask(user="outage").status_code == 200
    assert platform.ask(user="outage").status_code == 200
    platform.wait(lambda: len(_pairs(platform)) == 1)
    assert (_pairs(platform)[0].stable.outcome, _pairs(platform)[0].candidate.outcome) == ("ok", "ok")
    # The user is the candidate's; the stable arm's own users meet the same engine and count there.
    platform.wait(lambda: _errors(platform) == {"candidate": 1})


def test_a_pair_compares_first_attempts_since_the_mirrored_arm_has_no_other(platform: Platform) -> None:
    platform.route(candidate_weight=0.0, mirror=100.0)
    platform.engine.fail_first = 1
    assert platform.ask(user="glitch").status_code == 200
    platform.wait(lambda: len(_pairs(platform)) == 1)
    assert (_pairs(platform)[0].stable.outcome, _pairs(platform)[0].candidate.outcome) == ("error", "ok")


def test_a_hanging_mirror_is_a_timeout_and_delays_nobody(fresh: Callable[..., Platform]) -> None:
    platform = fresh(TIDEGATE_LIMITS__TIMEOUT_SECONDS="10")
    platform.start()
    platform.route(candidate_weight=0.0, mirror=100.0)
    platform.engine.modes[CANDIDATE] = "hang"
    assert platform.ask().status_code == 200
    platform.wait(lambda: len(_pairs(platform)) == 1)
    assert _pairs(platform)[0].candidate.outcome == "timeout"


def test_mirroring_is_shed_when_its_slots_are_taken(platform: Platform) -> None:
    platform.route(candidate_weight=0.0, mirror=100.0)
    platform.engine.modes[CANDIDATE] = "hang"
    before = platform.metric("tidegate_gateway_mirror_shed_total")
    for number in range(10):
        assert platform.ask(user=f"shed-{number}").status_code == 200
    assert platform.metric("tidegate_gateway_mirror_shed_total") - before == 2  # eight slots


def test_served_requests_are_logged_redacted_under_a_pseudonym(platform: Platform) -> None:
    platform.route(candidate_weight=100.0)
    answered = platform.ask(
        "call me on +44 20 7946 0958 please", user="alice@example.org", metadata={"customer_id": "c-1"}, stream=True
    )
    identifier = answered.headers["x-request-id"]
    platform.wait(lambda: any(row["request_id"] == identifier for row in _log(platform)))
    row = next(row for row in _log(platform) if row["request_id"] == identifier)
    assert "7946" not in row["text"]
    assert (row["answer"], row["outcome"], row["version"]) == ("answer of banking-intent/2", "ok", "2")
    assert (row["role"], row["epoch"], row["rollout"], row["step"]) == ("candidate", platform.epoch, "r1", "canary")
    assert (row["customer"], row["stream"], row["mirrored"]) == ("c-1", True, False)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (7, 3)
    assert 0 < row["ttft_seconds"] <= row["latency_seconds"]
    files = b"".join(path.read_bytes() for path in (platform.home / "inference-log").rglob("*.parquet"))
    assert b"alice" not in files


def test_a_full_disk_degrades_readiness_and_loses_no_request(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    (platform.home / "inference-log").write_text("a file where the folder should be")
    platform.start()
    platform.route()
    assert platform.ask().status_code == 200
    said = _becomes(platform, 200, "degraded")
    assert "inference-log" in said["stores"]["log"]
    (platform.home / "inference-log").unlink()
    platform.wait(lambda: len(_log(platform)) == 1)
    _becomes(platform, 200, "ready")


def test_feedback_is_stored_by_permission(platform: Platform) -> None:
    labeller = {"authorization": f"Bearer {platform.label_key}"}
    label = platform.post("/v1/feedback", json={"request_id": "f1", "label": "card_arrival"}, headers=labeller)
    assert label.status_code == 200
    assert label.json()["kind"] == "label"
    assert platform.post("/v1/feedback", json={"request_id": "f1", "rating": 0.25}).status_code == 200
    stored = {item.kind: item for item in platform.evidence.feedback(MODEL) if item.request_id == "f1"}
    assert (stored["label"].value, stored["label"].source) == ("card_arrival", "labeller")
    assert (float(stored["rating"].value), stored["rating"].source) == (0.25, "app")
    assert platform.evidence.labels(["f1"]) == {"f1": "card_arrival"}
    forbidden = platform.post("/v1/feedback", json={"request_id": "f1", "label": "x"})
    assert (forbidden.status_code, forbidden.json()["error"]["code"]) == (403, "insufficient_permissions")


def test_a_list_of_feedback_is_stored_as_a_whole_or_not_at_all(platform: Platform) -> None:
    labeller = {"authorization": f"Bearer {platform.label_key}"}
    good = [{"request_id": f"b{i}", "label": "x"} for i in range(3)]
    bad = platform.post("/v1/feedback", json=[*good, {"request_id": "b3"}], headers=labeller)
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "[3].label")
    assert platform.evidence.labels(["b0", "b1", "b2"]) == {}
    assert len(platform.post("/v1/feedback", json=good, headers=labeller).json()["data"]) == 3
    assert set(platform.evidence.labels(["b0", "b1", "b2"])) == {"b0", "b1", "b2"}


def test_sigterm_answers_what_is_in_flight_and_flushes_everything(fresh: Callable[..., Platform]) -> None:
    platform = fresh(TIDEGATE_INFERENCE_LOG__FLUSH_SECONDS="60")
    platform.start()
    platform.route(candidate_weight=0.0, mirror=100.0)
    platform.engine.held = True
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda stream=stream: answers.append(platform.ask(stream=stream, user=str(stream))))
        for stream in (False, True)
    ]
    for thread in threads:
        thread.start()
    platform.wait(lambda: platform.metric("tidegate_gateway_in_flight") == 2)
    platform.process.send_signal(signal.SIGTERM)
    platform.wait(lambda: "Shutting down" in (platform.home / "gateway.log").read_text())
    platform.engine.held = False
    for thread in threads:
        thread.join()
    assert platform.process.wait(timeout=60) == 0
    assert [answer.status_code for answer in answers] == [200, 200]
    assert any(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
    assert len(_log(platform)) == 2
    assert len(_pairs(platform)) == 2
    assert sum(window.requests for window in platform.evidence.windows(MODEL)) == 2
    assert platform.routing.acks(MODEL) == {}


def test_a_restart_without_the_database_serves_by_the_remembered_routing(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    platform.start()
    platform.route()
    assert platform.stop(kill=True) != 0
    platform.home.joinpath("tidegate.db").rename(platform.home / "away.db")
    platform.home.joinpath("tidegate.db").mkdir()  # a database that cannot be opened
    platform.start()
    assert platform.ask().status_code == 200
    _becomes(platform, 200, "degraded")


def test_a_lower_epoch_is_refused(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    remembered = platform.home / "gateway"
    remembered.mkdir()
    held = table(platform.engine_url, epoch=7, candidate_weight=100.0)
    (remembered / "routing.json").write_text(json.dumps([held.model_dump(mode="json")]))
    platform.routing.publish(table(platform.engine_url, epoch=3))
    platform.start()
    assert platform.ask().headers["x-tidegate-version"] == "2"
    assert _ready(platform)[1]["epochs"] == {MODEL: 7}
    platform.wait(lambda: set(platform.routing.acks(MODEL).values()) == {7})


def test_a_gateway_that_does_not_know_the_routing_is_not_ready(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    platform.home.joinpath("tidegate.db").rename(platform.home / "away.db")
    platform.home.joinpath("tidegate.db").mkdir()  # a database that cannot be opened
    platform.start()
    _becomes(platform, 503, "unready")


def test_readiness_wants_an_engine_once_something_is_deployed(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    platform.start()
    assert _becomes(platform, 200, "ready")["epochs"] == {}
    missing = platform.ask()
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    reachable, platform.engine_url = platform.engine_url, "http://127.0.0.1:9"
    platform.route()
    _becomes(platform, 503, "unready")
    assert platform.metric("tidegate_gateway_ready") == 0
    platform.engine_url = reachable
    platform.route()
    platform.wait(lambda: platform.metric("tidegate_gateway_ready") == 1)  # also where nobody probes
    _becomes(platform, 200, "ready")


def test_a_candidate_whose_engine_is_broken_takes_no_gateway_out_of_service(fresh: Callable[..., Platform]) -> None:
    platform = fresh()
    platform.start()
    platform.route(candidate_weight=10.0, candidate_engine="http://127.0.0.1:9")
    said = _becomes(platform, 200, "degraded")
    assert said["engines"] == {platform.engine_url: True, "http://127.0.0.1:9": False}


def _errors(platform: Platform) -> dict[str, int]:
    errors: dict[str, int] = {}
    for window in platform.evidence.windows(MODEL):
        if window.epoch == platform.epoch:
            errors[window.role] = errors.get(window.role, 0) + window.errors
    return errors


def _ready(platform: Platform) -> tuple[int, dict[str, Any]]:
    response = httpx.get(f"{platform.url}/readyz", timeout=30)
    return response.status_code, response.json()


def _becomes(platform: Platform, code: int, status: str) -> dict[str, Any]:
    """What it says then. One probe tells little: it gives an engine a second, which a busy one may exceed."""
    said: dict[str, Any] = {}

    def is_so() -> bool:
        found, body = _ready(platform)
        said.update(body)
        return (found, body["status"]) == (code, status)

    platform.wait(is_so)
    return said
