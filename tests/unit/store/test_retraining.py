import pytest

from tests.unit.store.examples import request
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import Conflict, NotFound
from tidegate.ledger import Ledger
from tidegate.store.leases import Fence, LeaseStore
from tidegate.store.retraining import RetrainStore


@pytest.fixture
def store(db: Database, clock: ManualClock) -> RetrainStore:
    return RetrainStore(db, clock)


def test_a_key_is_created_once(store: RetrainStore, db: Database, clock: ManualClock) -> None:
    assert store.create(request("k1")) == (request("k1"), True)
    assert store.create(request("k1")) == (request("k1"), False)
    assert len(Ledger(db, clock).entries(kind="retrain.requested")) == 1


def test_a_model_has_one_active_request_and_other_models_are_free(store: RetrainStore) -> None:
    store.create(request("k1"))
    assert store.create(request("k2")) == (request("k1"), False)
    assert store.create(request("k3", model="other"))[1]
    assert store.create(request("k4", status="suppressed"))[1]
    active = store.active("banking-intent")
    assert active is not None
    assert active.key == "k1"


def test_when_the_active_one_has_ended_the_next_may_come(store: RetrainStore, db: Database, clock: ManualClock) -> None:
    store.create(request("k1"))
    store.update("k1", "running", run="run-1", attempts=1)
    clock.advance(60)
    ended = store.update("k1", "succeeded", "version 2 registered")
    assert (ended.run, ended.attempts, ended.status_reason) == ("run-1", 1, "version 2 registered")
    assert store.last_finished("banking-intent") == ended
    assert store.create(request("k2"))[1]
    changes = Ledger(db, clock).entries(kind="retrain.status", subject="k1")
    assert [entry.payload["status"] for entry in changes] == ["running", "succeeded"]


def test_an_ended_request_cannot_become_active_beside_another(store: RetrainStore) -> None:
    store.create(request("k1"))
    store.update("k1", "failed", "no rows")
    store.create(request("k2"))
    with pytest.raises(Conflict, match="'k2'"):
        store.update("k1", "pending")
    assert [item.status for item in store.list("banking-intent")] == ["failed", "pending"]


def test_requests_are_listed_by_model_and_status(store: RetrainStore) -> None:
    store.create(request("k1"))
    store.create(request("k2", model="other"))
    assert [item.key for item in store.list()] == ["k1", "k2"]
    assert [item.key for item in store.list(model="other", status="pending")] == ["k2"]
    assert store.get("k9") is None
    assert store.last_finished("banking-intent") is None
    with pytest.raises(NotFound, match="'k9'"):
        store.update("k9", "running")


def test_a_writer_of_the_past_moves_no_request(store: RetrainStore, db: Database, clock: ManualClock) -> None:
    store.create(request("k1"))
    leases = LeaseStore(db, clock)
    epoch = leases.acquire("dispatcher", "a", 10)
    assert epoch is not None
    store.update("k1", "running", fence=Fence("dispatcher", epoch))
    clock.advance(11)
    leases.acquire("dispatcher", "b", 10)
    with pytest.raises(Conflict, match="epoch"):
        store.update("k1", "succeeded", fence=Fence("dispatcher", epoch))
    with pytest.raises(Conflict, match="is running, not suppressed"):
        store.update("k1", "pending", was="suppressed")
    assert [item.status for item in store.list()] == ["running"]
