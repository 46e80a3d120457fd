"""The receiver as a real process on a real database, with a real command as the retraining."""

from __future__ import annotations

import concurrent.futures
import random
import sqlite3
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.integration.monitoring.conftest import StartReceiver
from tests.integration.monitoring.receiver import START, Home, drift_alert, wait_for

pytestmark = pytest.mark.integration


def test_an_alert_is_stored_and_retrains_once_however_often_it_comes(home: Home, start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    answers = [receiver.post(drift_alert()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 5
    assert [answer.json()["new"] for answer in answers] == [1, 0, 0, 0, 0]
    wait_for(lambda: "succeeded" in home.statuses().values(), what="a finished retraining")
    (key,) = home.statuses()
    assert home.trained() == [key]
    assert receiver.post(drift_alert(resolved=True)).json()["new"] == 1
    wait_for(lambda: not home.alerts.pending(), what="the resolved alert's outcome")
    assert home.trained() == [key]
    assert receiver.stop() == 0


def test_bad_deliveries_are_refused_and_leave_nothing(home: Home, start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    assert receiver.post(drift_alert(), token="wrong").status_code == 401
    assert receiver.post(b"{").status_code == 400
    assert receiver.post({**drift_alert(), "version": "3"}).status_code == 400
    assert receiver.post(b'{"a":' * 100_000).status_code == 400
    assert receiver.post(b" " * (5 << 20)).status_code == 413
    assert httpx.post(f"{receiver.url}/v1/alerts/nobody", timeout=60).status_code == 404
    reason = receiver.post(b'{"version": NaN}').json()["error"]
    assert "NaN" in reason["problem"]
    assert reason["next_step"]
    assert not home.alerts.deliveries()
    metrics = httpx.get(f"{receiver.url}/metrics", timeout=60).text
    assert 'tidegate_receiver_deliveries_total{source="alertmanager",status="401"} 1.0' in metrics


def test_fuzzed_bodies_never_give_a_server_error(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    rng = random.Random(7)
    base = drift_alert()
    values: list[Any] = [None, [], {}, "x" * 5000, 10**400, 1e308, -1, True, "\U0001f600", {"a": [[[]]]}, "0001-01-01"]

    def mutated() -> Any:
        document = {**base, "alerts": [dict(base["alerts"][0])]}
        target = rng.choice([document, document["alerts"][0]])
        target[rng.choice(sorted(target))] = rng.choice(values)
        return document

    bodies = [mutated() if n % 2 else rng.randbytes(rng.randrange(200)) for n in range(300)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = {answer.status_code for answer in pool.map(receiver.post, bodies)}
    assert codes <= {202, 400}
    wait_for(receiver.ready, what="the receiver's readiness")


def test_a_database_that_cannot_store_gives_503_and_nothing_is_lost(home: Home, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(TIDEGATE_INTERVALS__DISPATCHER_TICK="5")
    blocker = sqlite3.connect(home.path / "tidegate.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answer = receiver.post(drift_alert())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    blocker.execute("ROLLBACK")
    blocker.close()
    wait_for(lambda: receiver.post(drift_alert()).status_code == 202, what="storing again")
    wait_for(lambda: "succeeded" in home.statuses().values(), what="a finished retraining")
    assert len(home.trained()) == 1


def test_a_storm_with_kills_loses_nothing_that_was_answered_and_runs_nothing_twice(
    home: Home, start_receiver: StartReceiver
) -> None:
    """A scaled W2: 500 deliveries of 40 alerts of 4 models, a third of them repeated, shuffled, three SIGKILLs."""
    receiver = start_receiver(TIDEGATE_RETRAINING__COOLDOWN_SECONDS="0")
    rng = random.Random(3)
    alerts = [(f"model-{n % 4}", START + timedelta(minutes=n), str(n)) for n in range(40)]
    storm = [rng.choice(alerts) for _ in range(350)]
    storm += [rng.choice(storm) for _ in range(150)]
    rng.shuffle(storm)
    answered: set[tuple[str, str]] = set()
    for part in (storm[:150], storm[150:300], storm[300:450], storm[450:]):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            posts = {pool.submit(_try, receiver, item): item for item in part}
            for count, done in enumerate(concurrent.futures.as_completed(posts)):
                if done.result():
                    model, _start, number = posts[done]
                    answered.add((model, number))
                if count == 90:
                    receiver.kill()
        if not receiver.alive():
            receiver.start()
    wait_for(lambda: not home.alerts.pending(1), what="outcomes of all alerts")
    wait_for(lambda: not {"pending", "running"} & set(home.statuses().values()), what="ends of all retrainings")
    stored = {(stored.alert.model, stored.alert.labels["number"]) for stored in home.alerts.alerts(1000)}
    assert answered <= stored
    assert len(answered) > 20
    ran = home.trained()
    assert len(ran) == len(set(ran))
    assert set(ran) == {key for key, status in home.statuses().items() if status == "succeeded"}
    assert len(ran) >= 4


def _try(receiver: Any, item: tuple[str, Any, str]) -> bool:
    model, start, number = item
    try:
        return bool(receiver.post(drift_alert(model, start=start, number=number)).is_success)
    except httpx.TransportError:
        return False


def test_a_receiver_killed_during_a_run_attaches_to_it_and_starts_no_second(
    home: Home, start_receiver: StartReceiver
) -> None:
    (home.path / "retrain.sh").write_text('while ! test -f "$TIDEGATE_HOME/go"; do sleep 0.05; done')
    receiver = start_receiver()
    receiver.post(drift_alert())
    wait_for(lambda: "running" in home.statuses().values(), what="a running retraining")
    receiver.kill()
    receiver.start()
    assert list(home.statuses().values()) == ["running"]
    (home.path / "go").touch()
    wait_for(lambda: "succeeded" in home.statuses().values(), what="the end of the run")
    assert len(home.trained()) == 1


def test_two_receivers_of_one_database_start_one_run_and_one_takes_over(
    home: Home, start_receiver: StartReceiver
) -> None:
    pair = [start_receiver(), start_receiver()]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: pair[n % 2].post(drift_alert()), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    wait_for(lambda: "succeeded" in home.statuses().values(), what="a finished retraining")
    assert len(home.trained()) == 1
    pair[0].kill()
    pair[1].post(drift_alert("other-model"))
    wait_for(lambda: len(home.trained()) == 2, what="the second receiver's dispatch")


def test_a_suppressed_alert_that_still_fires_retrains_after_the_cooldown(
    home: Home, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(TIDEGATE_RETRAINING__COOLDOWN_SECONDS="3600")
    receiver.post(drift_alert(reason="first"))
    wait_for(lambda: len(home.trained()) == 1, what="the first retraining")
    wait_for(lambda: "succeeded" in home.statuses().values(), what="its end")
    receiver.post(drift_alert(reason="second"))
    wait_for(lambda: "suppressed" in home.statuses().values(), what="the suppression")
    receiver.stop()
    later = start_receiver(TIDEGATE_RETRAINING__COOLDOWN_SECONDS="1")

    def fires_again() -> bool:
        if len(home.trained()) < 2:
            later.post(drift_alert(reason="second"))
        return len(home.trained()) == 2

    wait_for(fires_again, what="the retraining after the cooldown")
    wait_for(lambda: sorted(home.statuses().values()) == ["succeeded", "succeeded"], what="its end")


def test_an_alert_that_does_not_ask_for_it_retrains_nothing(home: Home, start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    receiver.post(drift_alert(tidegate_action="page"))
    wait_for(lambda: home.alerts.alerts() and not home.alerts.pending(), what="the alert's outcome")
    (stored,) = home.alerts.alerts()
    assert stored.outcome is not None
    assert stored.outcome.startswith("ignore")
    assert not home.statuses()


@pytest.mark.parametrize(("status", "runs"), [(5, 2), (6, 1)])
def test_what_the_infrastructure_failed_is_tried_again_and_a_verdict_is_final(
    home: Home, start_receiver: StartReceiver, status: int, runs: int
) -> None:
    (home.path / "retrain.sh").write_text(f"exit {status}")
    receiver = start_receiver(TIDEGATE_RETRAINING__RETRY_SECONDS="0", TIDEGATE_RETRAINING__MAX_ATTEMPTS="2")
    receiver.post(drift_alert())
    wait_for(lambda: "failed" in home.statuses().values(), what="the end of the last attempt")
    (request,) = home.requests.list()
    assert len(home.trained()) == runs == request.attempts
    assert request.status_reason is not None
    assert f"status {status}" in request.status_reason
