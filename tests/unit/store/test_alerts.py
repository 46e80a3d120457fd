import pytest

from tests.unit.store.examples import START, alert
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.store.alerts import AlertStore, Delivery


@pytest.fixture
def store(db: Database, clock: ManualClock) -> AlertStore:
    return AlertStore(db, clock)


def delivery(number: int) -> Delivery:
    return Delivery(id=f"d{number}", source="alertmanager", received_at=START, body='{"alerts": []}')


def test_an_alert_is_new_once_however_often_and_from_wherever_it_comes(
    store: AlertStore, db: Database, clock: ManualClock
) -> None:
    assert store.record(delivery(1), [alert("a"), alert("b")]) == [alert("a"), alert("b")]
    assert store.record(delivery(2), [alert("a"), alert("c"), alert("c")]) == [alert("c")]
    assert [(item.alerts, item.new_alerts) for item in store.deliveries()] == [(3, 1), (2, 2)]
    assert len(Ledger(db, clock).entries(kind="alert.received")) == 3


def test_the_same_alert_that_starts_anew_or_resolves_is_another_one(store: AlertStore) -> None:
    store.record(delivery(1), [alert("a")])
    again, resolved = alert("a", seconds=60), alert("a", status="resolved")
    assert store.record(delivery(2), [again, resolved]) == [again, resolved]


def test_a_repeated_delivery_is_stored_once(store: AlertStore) -> None:
    store.record(delivery(1), [alert("a")])
    assert store.record(delivery(1), [alert("a")]) == []
    assert [(item.delivery.id, item.alerts, item.new_alerts) for item in store.deliveries()] == [("d1", 1, 1)]


def test_an_undecided_alert_is_pending_until_it_is_settled_once(store: AlertStore) -> None:
    store.record(delivery(1), [alert("a"), alert("b")])
    assert store.pending() == [alert("a"), alert("b")]
    assert store.settle(alert("a").dedup_key, "retraining k1")
    assert not store.settle(alert("a").dedup_key, "another word")
    assert store.pending() == [alert("b")]
    outcomes = {item.alert.fingerprint: item.outcome for item in store.alerts()}
    assert outcomes == {"a": "retraining k1", "b": None}
