"""How many workers an eviction has to leave: one replica at most goes, and no drain waits for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.operator.budget import HOLD, SINCE, budget, onto, same
from tidegate.ports import EngineStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = st.integers(0, 9)


def engine(ready: int, workers: int | None = None) -> EngineStatus:
    on = ready if workers is None else workers
    return EngineStatus(ready=True, url="", adapters=(), replicas_ready=ready, replicas_wanted=ready, workers=on)


def kept(made: dict[str, Any] | None) -> int:
    return 0 if made is None else int(made["spec"]["minAvailable"])


def rendered(least: int, status: EngineStatus, before: dict[str, Any] | None = None, now: datetime = NOW) -> Any:
    return budget("llama", "llama-abcde", least, status, before, now)


def test_it_covers_the_workers_of_the_active_cluster_and_nothing_else() -> None:
    assert rendered(2, engine(2)) == {
        "metadata": {
            "name": "llama-engine",
            "labels": {"app.kubernetes.io/managed-by": "tidegate", "tidegate.dev/runtime": "llama"},
        },
        "spec": {
            "minAvailable": 1,
            "selector": {"matchLabels": {"ray.io/cluster": "llama-abcde", "ray.io/node-type": "worker"}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


@pytest.mark.parametrize(("least", "workers"), [(1, 1), (1, 4), (2, 2), (3, 3), (3, 8)])
def test_all_of_the_least_replicas_but_one_stay(least: int, workers: int) -> None:
    assert kept(rendered(least, engine(workers))) == least - 1


def test_an_engine_that_has_not_begun_or_has_nothing_left_has_none() -> None:
    """There is nobody to protect, and its node may be what keeps it from serving."""
    full = rendered(3, engine(3))
    for before in (None, full):
        assert rendered(3, engine(0), before) is None


def test_a_worker_that_holds_all_replicas_may_go() -> None:
    assert rendered(2, engine(2, workers=1)) is None


def test_while_the_successor_of_one_loads_no_other_one_goes() -> None:
    full = rendered(2, engine(2))
    loading = rendered(2, engine(1), full)
    assert kept(loading) == 2
    assert loading["metadata"]["annotations"] == {SINCE: "2026-03-01T12:00:00.000000Z"}
    later = rendered(2, engine(1), loading, NOW + timedelta(minutes=5))
    assert same(later, loading), "the time since when stays: the next leader goes on from it"
    assert same(rendered(2, engine(2), loading), full)


def test_a_replica_that_never_comes_back_blocks_no_drain_for_ever() -> None:
    loading = rendered(3, engine(2), rendered(3, engine(3)))
    assert kept(loading) == 3
    given_up = rendered(3, engine(2), loading, NOW + HOLD)
    assert kept(given_up) == 1
    assert kept(rendered(3, engine(2), given_up, NOW + 2 * HOLD)) == 1
    assert rendered(2, engine(1), loading, NOW + HOLD) is None


@pytest.mark.parametrize("since", ["never", "", "2027-01-01T00:00:00Z", "2026-01-01"])
def test_a_time_that_somebody_wrote_never_holds_longer(since: str) -> None:
    before = rendered(2, engine(2))
    before["metadata"]["annotations"] = {SINCE: since}
    held = rendered(2, engine(1), before)
    assert held is None or held["metadata"]["annotations"][SINCE] <= "2026-03-01T12:00:00.000000Z"


def test_what_others_noted_on_it_stays() -> None:
    full = rendered(2, engine(2))
    there = {
        **full,
        "metadata": {**full["metadata"], "resourceVersion": "7", "annotations": {"team": "ml", SINCE: "x"}},
    }
    assert not same(full, there)
    changed = onto(there, full)
    assert changed["metadata"]["annotations"] == {"team": "ml"}
    assert changed["metadata"]["resourceVersion"] == "7"
    assert same(full, changed)


@given(least=st.integers(1, 9), ready=COUNT, workers=COUNT, seen=st.booleans(), minutes=st.integers(0, 60))
def test_one_of_those_that_serve_may_go_or_all_wait_for_one_that_loads(
    least: int, ready: int, workers: int, seen: bool, minutes: int
) -> None:
    workers = min(workers, ready)
    before = rendered(least, engine(least)) if seen else None
    if before is not None:
        before = rendered(least, engine(max(least - 1, 1)), before)
    found = kept(rendered(least, engine(ready, workers), before, NOW + timedelta(minutes=minutes)))
    waits = before is not None and 0 < ready < least and timedelta(minutes=minutes) < HOLD
    if waits:
        assert found == least
    else:
        assert found <= max(workers - 1, 0), "no worker could ever be drained"
        assert found < least
        if ready >= least and workers == ready:
            assert found == least - 1
