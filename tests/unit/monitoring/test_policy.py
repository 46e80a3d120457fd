"""The retraining policy: at most one per (model, fingerprint, startsAt), one active, none in the cooldown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.retraining.policy import ACTION_LABEL, ModelState, decide, request_key
from tidegate.domain.drift import Alert, RetrainRequest, RetrainStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3600.0


def alert(**changes: object) -> Alert:
    values: dict[str, object] = {
        "source": "alertmanager",
        "fingerprint": "00ff",
        "status": "firing",
        "name": "ModelDrift",
        "model": "banking-intent",
        "labels": {ACTION_LABEL: "retrain", "model": "banking-intent"},
        "annotations": {"summary": "new intents", "report_uri": "file:///r.html"},
        "starts_at": NOW - timedelta(minutes=5),
    }
    return Alert.model_validate(values | changes)


def request(status: RetrainStatus, *, key: str = "retrain-other", ended: timedelta = timedelta()) -> RetrainRequest:
    return RetrainRequest(
        key=key, model="banking-intent", reason="x", status=status, created_at=NOW - ended, updated_at=NOW - ended
    )


def test_a_firing_alert_that_asks_for_it_becomes_a_request_with_its_evidence() -> None:
    decision = decide(alert(), ModelState(), now=NOW, cooldown_seconds=HOUR)
    assert decision.action == "retrain"
    assert decision.request is not None
    assert decision.request.status == "pending"
    assert decision.request.evidence_uri == "file:///r.html"
    assert decision.request.reason == "ModelDrift: new intents"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "resolved"}, "resolved"),
        ({"labels": {"model": "banking-intent"}}, ACTION_LABEL),
        ({"model": None}, "names no model"),
    ],
)
def test_alerts_that_do_not_ask_are_ignored_with_a_reason(changes: dict[str, object], reason: str) -> None:
    decision = decide(alert(**changes), ModelState(), now=NOW, cooldown_seconds=HOUR)
    assert decision.action == "ignore"
    assert reason in decision.reason


def test_one_active_retraining_suppresses_another() -> None:
    decision = decide(alert(), ModelState(active=request("running")), now=NOW, cooldown_seconds=0)
    assert decision.action == "suppress"
    assert "retrain-other" in decision.reason
    assert decision.request is not None
    assert decision.request.status == "suppressed"


@pytest.mark.parametrize(("minutes", "action"), [(59, "suppress"), (60, "retrain"), (61, "retrain")])
def test_the_cooldown_counts_from_the_end_of_the_last_retraining(minutes: int, action: str) -> None:
    state = ModelState(last_finished=request("failed", ended=timedelta(minutes=minutes)))
    assert decide(alert(), state, now=NOW, cooldown_seconds=HOUR).action == action


@given(status=st.sampled_from(["pending", "running", "succeeded", "failed"]), cooldown=st.floats(0, 1e6))
def test_an_alert_that_has_its_retraining_never_gets_another(status: RetrainStatus, cooldown: float) -> None:
    one = alert()
    existing = request(status, key=request_key(one), ended=timedelta(days=100))
    assert decide(one, ModelState(existing=existing), now=NOW, cooldown_seconds=cooldown).action == "ignore"


def test_a_suppressed_alert_that_fires_after_the_cooldown_is_decided_anew_under_its_own_key() -> None:
    one = alert()
    existing = request("suppressed", key=request_key(one))
    decision = decide(one, ModelState(existing=existing), now=NOW, cooldown_seconds=HOUR)
    assert decision.action == "retrain"
    assert decision.request is not None
    assert decision.request.key == existing.key


@given(
    st.lists(
        st.tuples(st.sampled_from(["m1", "m2"]), st.sampled_from(["f1", "f2"]), st.integers(0, 3)),
        min_size=2,
        max_size=2,
    )
)
def test_the_key_is_equal_exactly_for_equal_model_fingerprint_and_start(pair: list[tuple[str, str, int]]) -> None:
    keys = [
        request_key(alert(model=model, fingerprint=print_, starts_at=NOW + timedelta(hours=hour)))
        for model, print_, hour in pair
    ]
    assert (keys[0] == keys[1]) == (pair[0] == pair[1])
