import pytest

from tests.unit.store.examples import runtime
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import Conflict, InvalidInput, NotFound
from tidegate.ledger import Ledger
from tidegate.store.leases import Fence, LeaseStore
from tidegate.store.resources import ResourceStore


@pytest.fixture
def store(db: Database, clock: ManualClock) -> ResourceStore:
    return ResourceStore(db, clock)


def test_applying_twice_changes_nothing_the_second_time(store: ResourceStore, db: Database, clock: ManualClock) -> None:
    first, created = store.apply(runtime(), "anna")
    second, changed = store.apply(runtime(), "anna")
    assert (created, changed) == (True, False)
    assert first == second
    assert len(Ledger(db, clock).entries(kind="resource.applied")) == 1


def test_a_changed_spec_is_a_new_generation_and_keeps_the_status(store: ResourceStore) -> None:
    first, _ = store.apply(runtime(), "anna")
    store.update_status("ModelRuntime", "small", {"phase": "Ready"}, first.resource_version)
    second, changed = store.apply(runtime(maxAdapters=8), "anna")
    assert changed
    assert (second.generation, second.resource_version) == (2, 3)
    assert second.status == {"phase": "Ready"}
    assert store.get("ModelRuntime", "small") == second


def test_changed_labels_alone_are_no_new_generation(store: ResourceStore) -> None:
    store.apply(runtime(), "anna")
    metadata = runtime().metadata.model_copy(update={"labels": {"team": "a"}})
    second, changed = store.apply(runtime().model_copy(update={"metadata": metadata}), "anna")
    assert changed
    assert (second.generation, second.resource_version) == (1, 2)


def test_of_two_status_writes_on_the_same_version_one_is_refused(store: ResourceStore) -> None:
    stored, _ = store.apply(runtime(), "anna")
    assert store.update_status("ModelRuntime", "small", {"by": "a"}, stored.resource_version) == 2
    with pytest.raises(Conflict, match="resourceVersion 2"):
        store.update_status("ModelRuntime", "small", {"by": "b"}, stored.resource_version)
    found = store.get("ModelRuntime", "small")
    assert found is not None
    assert found.status == {"by": "a"}


def test_a_holder_of_the_past_cannot_write_a_status(store: ResourceStore, db: Database, clock: ManualClock) -> None:
    stored, _ = store.apply(runtime(), "anna")
    leases = LeaseStore(db, clock)
    old = leases.acquire("controller", "a", 1.0)
    clock.advance(2.0)
    new = leases.acquire("controller", "b", 1.0)
    assert old is not None
    assert new is not None
    with pytest.raises(Conflict, match="epoch 2"):
        store.update_status("ModelRuntime", "small", {}, stored.resource_version, fence=Fence("controller", old))
    assert (
        store.update_status("ModelRuntime", "small", {}, stored.resource_version, fence=Fence("controller", new)) == 2
    )


def test_a_deleted_resource_stays_as_a_tombstone_until_it_is_purged(store: ResourceStore) -> None:
    store.apply(runtime(), "anna")
    store.purge("ModelRuntime", "small")  # in use: left alone
    store.delete("ModelRuntime", "small", "anna")
    tombstone = store.get("ModelRuntime", "small")
    assert tombstone is not None
    assert tombstone.deleted
    assert store.list("ModelRuntime") == [tombstone]
    assert store.list("ModelRuntime", deleted=False) == []
    store.purge("ModelRuntime", "small")
    assert store.get("ModelRuntime", "small") is None


def test_applying_a_deleted_resource_brings_it_back_with_a_new_generation(store: ResourceStore) -> None:
    stored, _ = store.apply(runtime(), "anna")
    store.update_status("ModelRuntime", "small", {"phase": "Ready"}, stored.resource_version)
    store.delete("ModelRuntime", "small", "anna")
    again, changed = store.apply(runtime(), "anna")
    assert changed
    assert (again.deleted, again.generation, again.status) == (False, 2, {})


def test_unknown_names_and_kinds_are_named(store: ResourceStore) -> None:
    with pytest.raises(NotFound, match="ModelRuntime/absent"):
        store.delete("ModelRuntime", "absent", "anna")
    with pytest.raises(NotFound, match="ModelRuntime/absent"):
        store.update_status("ModelRuntime", "absent", {}, 1)
    with pytest.raises(InvalidInput, match="'Pod'"):
        store.list("Pod")
