import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.examples import table
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import Conflict
from tidegate.ledger import Ledger
from tidegate.store.leases import Fence, LeaseStore
from tidegate.store.routing import RoutingStore


@pytest.fixture
def store(db: Database, clock: ManualClock) -> RoutingStore:
    return RoutingStore(db, clock)


def test_a_published_table_is_in_force_and_on_record(store: RoutingStore, db: Database, clock: ManualClock) -> None:
    assert store.get("intent-assistant") is None
    store.publish(table(1, 20.0, rollout="r1"), reason="step canary begins")
    assert store.get("intent-assistant") == table(1, 20.0, rollout="r1")
    (entry,) = Ledger(db, clock).entries(kind="routing.published")
    assert entry.rollout == "r1"
    assert entry.payload["reason"] == "step canary begins"


@pytest.mark.parametrize("late", [1, 2])
def test_an_epoch_that_is_not_newer_is_refused_and_leaves_no_record(
    store: RoutingStore, db: Database, clock: ManualClock, late: int
) -> None:
    store.publish(table(2))
    token = store.change_token()
    with pytest.raises(Conflict, match="at epoch 2"):
        store.publish(table(late, 50.0))
    assert store.get("intent-assistant") == table(2)
    assert store.change_token() == token
    assert len(Ledger(db, clock).entries(kind="routing.published")) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(epochs=st.lists(st.integers(min_value=0, max_value=30), max_size=15))
def test_whatever_is_published_the_epoch_in_force_only_grows(
    db: Database, clock: ManualClock, epochs: list[int]
) -> None:
    store = RoutingStore(db, clock)
    name = f"d-{store.change_token()}-{len(epochs)}"  # hypothesis shares the database between its examples
    in_force = -1
    for epoch in epochs:
        token = store.change_token()
        if epoch > in_force:
            store.publish(table(epoch, deployment=name))
            in_force = epoch
            assert store.change_token() != token
        else:
            with pytest.raises(Conflict):
                store.publish(table(epoch, deployment=name))
            assert store.change_token() == token
        found = store.get(name)
        assert found is not None
        assert found.epoch == in_force
    store.remove(name)


def test_a_removed_deployment_serves_nothing_but_keeps_its_epoch(
    store: RoutingStore, db: Database, clock: ManualClock
) -> None:
    store.publish(table(5))
    token = store.change_token()
    store.remove("intent-assistant")
    assert store.get("intent-assistant") is None
    assert store.all() == []
    assert store.change_token() != token
    assert Ledger(db, clock).serving_at("intent-assistant", clock.now()) is None
    with pytest.raises(Conflict):
        store.publish(table(5))
    store.publish(table(6))
    assert store.all() == [table(6)]


def test_the_stale_leader_cannot_publish(store: RoutingStore, db: Database, clock: ManualClock) -> None:
    leases = LeaseStore(db, clock)
    old = leases.acquire("controller", "a", 5.0)
    clock.advance(6.0)
    new = leases.acquire("controller", "b", 5.0)
    assert old is not None
    assert new is not None
    with pytest.raises(Conflict, match="lease 'controller'"):
        store.publish(table(1), fence=Fence("controller", old))
    assert store.get("intent-assistant") is None
    store.publish(table(1), fence=Fence("controller", new))


def test_what_a_failed_transaction_published_never_was(store: RoutingStore, db: Database, clock: ManualClock) -> None:
    def publish_and_fail() -> None:
        with db.write() as conn:
            store.publish(table(1), conn=conn)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        publish_and_fail()
    assert store.get("intent-assistant") is None
    assert Ledger(db, clock).entries() == []


def test_only_gateways_heard_of_lately_count_as_acknowledging(store: RoutingStore, clock: ManualClock) -> None:
    store.acknowledge("g1", "intent-assistant", 1)
    clock.advance(8.0)
    store.acknowledge("g2", "intent-assistant", 2)
    assert store.acks("intent-assistant") == {"g1": 1, "g2": 2}
    clock.advance(8.0)
    assert store.acks("intent-assistant") == {"g2": 2}
    assert store.acks("intent-assistant", fresh_seconds=60) == {"g1": 1, "g2": 2}
    store.forget_gateway("g2")
    assert store.acks("intent-assistant") == {}


def test_repeated_acknowledgements_of_one_epoch_are_one_fact(
    store: RoutingStore, db: Database, clock: ManualClock
) -> None:
    for epoch in (1, 1, 1, 2, 2):
        store.acknowledge("g1", "intent-assistant", epoch)
    entries = Ledger(db, clock).entries(kind="routing.acknowledged")
    assert [entry.payload["epoch"] for entry in entries] == [1, 2]
