from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tidegate.db import Database
from tidegate.store.firing import FiringStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(db: Database) -> FiringStore:
    return FiringStore(db)


def test_an_alert_keeps_its_start_until_it_is_resolved(store: FiringStore) -> None:
    later = NOW + timedelta(hours=1)
    assert store.peek("a") is None
    assert [store.since("a", NOW), store.since("a", later), store.peek("a")] == [NOW, NOW, NOW]
    assert store.since("b", later) == later
    assert store.resolve("a", NOW)
    assert (store.peek("a"), store.peek("b")) == (None, later)
    assert store.since("a", later) == later


def test_who_resolves_late_leaves_what_fires_anew(store: FiringStore) -> None:
    again = NOW + timedelta(minutes=5)
    store.since("a", NOW)
    assert store.resolve("a", NOW)
    store.since("a", again)
    assert not store.resolve("a", NOW)
    assert store.peek("a") == again


def test_checks_at_once_agree_on_one_start(store: FiringStore, database_url: str) -> None:
    """Each with a connection of its own, as pods have; every alert is noticed by all of them."""
    others = [Database.open(database_url) for _ in range(4)]

    def notice(number: int) -> list[datetime]:
        book = FiringStore(others[number])
        return [book.since(f"alert-{alert}", NOW + timedelta(seconds=number)) for alert in range(10)]

    with ThreadPoolExecutor(len(others)) as pool:
        found = list(pool.map(notice, range(len(others))))
    for other in others:
        other.close()
    assert all(one == found[0] for one in found)
    assert found[0] == [store.peek(f"alert-{alert}") for alert in range(10)]
