import pytest

from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import Conflict, NotFound
from tidegate.ledger import Ledger
from tidegate.store.runs import RunStage, RunStore


@pytest.fixture
def store(db: Database, clock: ManualClock) -> RunStore:
    return RunStore(db, clock)


def test_a_run_is_recorded_with_its_stages_in_order(store: RunStore, clock: ManualClock) -> None:
    store.start("r1", "fine_tune", {"seed": 1})
    store.stage("r1", "prepare", 2.0, "succeeded", "980 of 1000 rows")
    store.stage("r1", "features", 0.0, "running")
    store.stage("r1", "features", 1.5, "succeeded")
    clock.advance(5)
    store.finish("r1", "succeeded", "version 1")
    run = store.get("r1")
    assert run is not None
    assert run.params == {"seed": 1}
    assert run.stages == (
        RunStage("prepare", 2.0, "succeeded", "980 of 1000 rows"),
        RunStage("features", 1.5, "succeeded", ""),
    )
    assert run.finished_at is not None
    assert (run.finished_at - run.started_at).total_seconds() == 5


def test_starting_and_finishing_twice_is_once(store: RunStore, db: Database, clock: ManualClock) -> None:
    store.start("r1", "fine_tune", {})
    store.start("r1", "fine_tune", {})
    store.finish("r1", "failed", "gate")
    store.finish("r1", "succeeded", "too late")
    run = store.get("r1")
    assert run is not None
    assert (run.status, run.detail) == ("failed", "gate")
    assert [entry.kind for entry in Ledger(db, clock).entries(subject="r1")] == ["run.started", "run.finished"]


def test_an_id_is_not_used_for_two_runs(store: RunStore) -> None:
    store.start("r1", "fine_tune", {})
    with pytest.raises(Conflict, match="'fine_tune', running"):
        store.start("r1", "drift_check", {})
    store.finish("r1", "succeeded")
    with pytest.raises(Conflict, match="succeeded"):
        store.start("r1", "fine_tune", {})


def test_a_failed_run_goes_on_with_the_same_parameters_only(store: RunStore, db: Database, clock: ManualClock) -> None:
    store.start("r1", "fine_tune", {"seed": 1})
    store.stage("r1", "prepare", 2.0, "succeeded")
    store.finish("r1", "failed", "MLflow was down")
    with pytest.raises(Conflict, match="other parameters"):
        store.start("r1", "fine_tune", {"seed": 2})
    store.start("r1", "fine_tune", {"seed": 1})
    run = store.get("r1")
    assert run is not None
    assert (run.status, run.detail, run.finished_at) == ("running", "", None)
    assert [stage.name for stage in run.stages] == ["prepare"]
    store.finish("r1", "succeeded")
    kinds = [entry.kind for entry in Ledger(db, clock).entries(subject="r1")]
    assert kinds == ["run.started", "run.finished", "run.started", "run.finished"]


def test_the_newest_runs_come_first(store: RunStore, clock: ManualClock) -> None:
    for number in range(3):
        store.start(f"r{number}", "fine_tune" if number else "drift_check", {})
        clock.advance(1)
    assert [run.id for run in store.list(limit=2)] == ["r2", "r1"]
    assert [run.id for run in store.list("drift_check")] == ["r0"]


def test_an_unknown_run_is_named(store: RunStore) -> None:
    assert store.get("r9") is None
    with pytest.raises(NotFound, match="'r9'"):
        store.stage("r9", "prepare", 1.0, "succeeded")
    with pytest.raises(NotFound, match="'r9'"):
        store.finish("r9", "succeeded")
