import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import Conflict
from tidegate.ids import new_id
from tidegate.store.leases import Fence, LeaseStore, check_fence

TTL = 10.0


@pytest.fixture
def store(db: Database, clock: ManualClock) -> LeaseStore:
    return LeaseStore(db, clock)


def test_a_held_lease_is_refused_to_others_and_given_again_to_its_holder(store: LeaseStore) -> None:
    assert store.acquire("controller", "a", TTL) == 1
    assert store.acquire("controller", "b", TTL) is None
    assert store.acquire("controller", "a", TTL) == 1


def test_an_expired_lease_goes_to_the_next_with_a_higher_epoch(store: LeaseStore, clock: ManualClock) -> None:
    store.acquire("controller", "a", TTL)
    clock.advance(TTL)
    assert store.acquire("controller", "b", TTL) == 2
    assert not store.renew("controller", "a", 1, TTL)
    lease = store.get("controller")
    assert lease is not None
    assert (lease.holder, lease.held) == ("b", True)


def test_an_expired_lease_cannot_be_renewed_even_when_nobody_took_it(store: LeaseStore, clock: ManualClock) -> None:
    store.acquire("controller", "a", TTL)
    clock.advance(TTL / 2)
    assert store.renew("controller", "a", 1, TTL)
    clock.advance(TTL)
    assert not store.renew("controller", "a", 1, TTL)
    assert store.acquire("controller", "a", TTL) == 2


def test_a_released_lease_is_free_and_its_epoch_does_not_come_again(store: LeaseStore) -> None:
    store.acquire("controller", "a", TTL)
    store.release("controller", "a", 1)
    assert store.acquire("controller", "b", TTL) == 2
    store.release("controller", "a", 1)  # no longer its holder: nothing happens
    assert store.acquire("controller", "a", TTL) is None


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["acquire", "renew", "release", "write", "wait"])), max_size=40
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(actions=steps)
def test_epochs_only_grow_and_only_the_newest_one_writes(
    db: Database, clock: ManualClock, actions: list[tuple[str, str]]
) -> None:
    store, name = LeaseStore(db, clock), f"lease-{new_id()}"
    newest, believed = 0, dict.fromkeys("abc", 0)
    for holder, action in actions:
        if action == "acquire":
            epoch = store.acquire(name, holder, TTL)
            if epoch is not None:
                assert epoch >= newest
                assert epoch > newest or believed[holder] == newest
                newest = believed[holder] = epoch
        elif action == "renew":
            assert not store.renew(name, holder, believed[holder], TTL) or believed[holder] == newest
        elif action == "release":
            store.release(name, holder, believed[holder])
        elif action == "wait":
            clock.advance(TTL / 2)
        elif believed[holder]:
            with db.write() as conn:
                if believed[holder] == newest:
                    check_fence(conn, Fence(name, believed[holder]))
                else:
                    with pytest.raises(Conflict):
                        check_fence(conn, Fence(name, believed[holder]))
