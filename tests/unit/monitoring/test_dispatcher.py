"""The dispatcher: what is kept while nobody can start it, what an attempt is, and who may act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from monitoring.retraining.decisions import RetrainDecisions
from monitoring.retraining.dispatcher import LONGEST_START_WAIT, NOBODY, Dispatcher
from tests.unit.store.examples import request
from tidegate.adapters.retrain_runs import ImpossibleRequest, run_name
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import ContractBroken, NotFound, TidegateError, Unavailable
from tidegate.ledger import Ledger
from tidegate.ports import RunFailure, RunLauncher, unclaimed
from tidegate.store.retraining import RetrainStore

LEASE_SECONDS, START_SECONDS = 10, 25


def _at_once() -> None:
    pass


class Launched:
    """Keeps runs by name, as Kubeflow Pipelines and the local launcher do; they go on until a test ends them.

    Args:
        fails: what the next starts raise, one by one, before they make the run.
        loses: what the next starts raise after they made it: the answer was lost.

    `before_claim`, `before_made` and `before_state` are called where Kubeflow Pipelines may be slow.
    """

    def __init__(self, *, fails: Sequence[TidegateError] = (), loses: Sequence[TidegateError] = ()) -> None:
        self.runs: dict[str, Literal["running", "succeeded", "failed"]] = {}
        self.asked: list[str] = []
        self.made: list[str] = []
        self.before_claim = self.before_made = self.before_state = _at_once
        self._fails, self._loses = list(fails), list(loses)

    def start(self, request: RetrainRequest, *, claim: Callable[[], None] = unclaimed) -> str:
        name = run_name(request)
        self.asked.append(name)
        if self._fails:
            raise self._fails.pop(0)
        if name not in self.runs:
            self.before_claim()
            claim()
            self.before_made()
            self.runs[name] = "running"
            self.made.append(name)
            if self._loses:
                raise self._loses.pop(0)
        return name

    def state(self, run: str) -> Literal["running", "succeeded", "failed"]:
        self.before_state()
        if run not in self.runs:
            raise Unavailable(f"run {run} cannot be looked at")
        return self.runs[run]

    def failure(self, run: str) -> RunFailure | None:
        return RunFailure(reason=f"run {run} lost its pods", transient=True)

    def since(self, run: str) -> datetime | None:
        del run
        return None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database.open(f"sqlite:///{tmp_path / 'tidegate.db'}")


@pytest.fixture
def requests(db: Database, clock: ManualClock) -> RetrainStore:
    """With one request, `k1`."""
    store = RetrainStore(db, clock)
    store.create(request("k1"))
    return store


def the_one(store: RetrainStore) -> RetrainRequest:
    found = store.get("k1")
    assert found is not None
    return found


def dispatcher(db: Database, clock: ManualClock, launcher: RunLauncher | None, holder: str) -> Dispatcher:
    decisions = RetrainDecisions(db, clock, cooldown_seconds=60)
    return Dispatcher(
        db=db,
        clock=clock,
        decisions=decisions,
        launcher=launcher,
        holder=holder,
        lease_seconds=LEASE_SECONDS,
        start_seconds=START_SECONDS,
        max_attempts=2,
    )


def test_a_request_waits_for_somebody_who_can_start_it(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    launched = Launched()
    alone = dispatcher(db, clock, None, "recording")
    for _ in range(3):
        assert alone.tick()
        clock.advance(1)
    waiting = the_one(requests)
    assert (waiting.status, waiting.status_reason, waiting.attempts) == ("pending", NOBODY, 0)
    alone.tick()
    assert the_one(requests).updated_at == waiting.updated_at  # said once, not every round
    alone.release()

    assert dispatcher(db, clock, launched, "starting").tick()
    assert (the_one(requests).status, launched.made) == ("running", ["k1"])


# --- starts that fail ------------------------------------------------------------------------------------------------


def test_a_start_whose_answer_was_lost_finds_its_run_and_makes_no_second(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    launched = Launched(loses=[Unavailable("no answer within 20 s")])
    one = dispatcher(db, clock, launched, "a")
    for _ in range(20):
        one.tick()
        clock.advance(5)
    found = the_one(requests)
    assert (found.status, found.run, found.attempts) == ("running", "k1", 0)
    assert launched.made == ["k1"]


@pytest.mark.parametrize("error", [Unavailable("down"), NotFound("no pipeline 'retrain'"), ContractBroken("caches")])
def test_an_outage_however_long_ends_no_retraining(
    db: Database, clock: ManualClock, requests: RetrainStore, error: TidegateError
) -> None:
    launched = Launched(fails=[error] * 50)
    one = dispatcher(db, clock, launched, "a")
    for tick in range(50):
        one.tick()
        assert len(launched.asked) == tick + 1
        waiting = the_one(requests)
        assert (waiting.status, waiting.attempts) == ("pending", 0)
        assert error.problem in (waiting.status_reason or "")
        clock.advance(LONGEST_START_WAIT)
    one.tick()
    assert (the_one(requests).status, launched.made) == ("running", ["k1"])


def test_what_cannot_be_started_is_asked_for_ever_less_often_and_its_reason_written_down_once(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    launched, asked_at = Launched(fails=[Unavailable("down")] * 50), list[float]()
    one = dispatcher(db, clock, launched, "a")
    while len(asked_at) < 7:
        before = len(launched.asked)
        one.tick()
        if len(launched.asked) > before:
            asked_at.append(clock.monotonic())
        clock.advance(10)
    assert [later - earlier for earlier, later in pairwise(asked_at)] == [30, 60, 120, 240, 480, 600]
    assert len(Ledger(db, clock).entries(kind="retrain.status", subject="k1")) == 1


def test_after_a_takeover_the_first_start_is_at_once(db: Database, clock: ManualClock, requests: RetrainStore) -> None:
    launched = Launched(fails=[Unavailable("down")])
    first = dispatcher(db, clock, launched, "a")
    first.tick()
    first.release()
    assert dispatcher(db, clock, launched, "b").tick()
    assert the_one(requests).status == "running"


def test_a_request_that_no_run_can_carry_out_has_failed(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    launched = Launched(fails=[ImpossibleRequest("names no deployment")])
    dispatcher(db, clock, launched, "a").tick()
    found = the_one(requests)
    assert (found.status, found.status_reason, found.attempts) == ("failed", "names no deployment", 0)


def test_runs_that_failed_are_counted_and_starts_between_them_are_not(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    launched = Launched()
    one = dispatcher(db, clock, launched, "a")
    one.tick()
    launched.runs["k1"] = "failed"
    launched._fails = [Unavailable("down")] * 3
    while "k1.2" not in launched.made:
        one.tick()
        clock.advance(2)
    assert (the_one(requests).status, the_one(requests).attempts) == ("running", 1)
    launched.runs["k1.2"] = "failed"
    one.tick()
    ended = the_one(requests)
    assert (ended.status, ended.attempts, launched.made) == ("failed", 2, ["k1", "k1.2"])


def test_a_run_that_cannot_be_looked_at_keeps_no_other_waiting(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    requests.create(request("k2", model="other"))
    launched = Launched()
    one = dispatcher(db, clock, launched, "a")
    one.tick()
    launched.runs["k2"] = "succeeded"
    del launched.runs["k1"]
    with pytest.raises(Unavailable, match="k1"):  # the receiver counts and logs it
        one.tick()
    assert {item.key: item.status for item in requests.list()} == {"k1": "running", "k2": "succeeded"}


# --- two dispatchers -------------------------------------------------------------------------------------------------


def test_a_dispatcher_that_was_slow_to_look_leaves_the_run_to_its_successor(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    requests.create(request("k2", model="other"))
    launched = Launched()
    first, standby = (dispatcher(db, clock, launched, name) for name in ("first", "standby"))

    def slow() -> None:
        launched.before_claim = _at_once
        clock.advance(LEASE_SECONDS + 1)
        assert standby.tick()

    launched.before_claim = slow
    assert not first.tick(), "it does not lead any more"
    assert launched.made == ["k1", "k2"]
    assert {item.status for item in requests.list()} == {"running"}


def test_while_a_run_is_being_made_nobody_takes_over(db: Database, clock: ManualClock, requests: RetrainStore) -> None:
    launched, asked = Launched(), list[bool]()
    first, standby = (dispatcher(db, clock, launched, name) for name in ("first", "standby"))

    def slow() -> None:
        clock.advance(START_SECONDS - 1)
        asked.append(standby.tick())

    launched.before_made = slow
    assert first.tick()
    assert (asked, launched.made) == ([False], ["k1"])
    assert the_one(requests).status == "running"


def test_what_a_dispatcher_of_the_past_saw_is_not_recorded(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    launched = Launched()
    first, standby = (dispatcher(db, clock, launched, name) for name in ("first", "standby"))
    first.tick()
    launched.runs["k1"] = "failed"

    def slow() -> None:
        launched.before_state = _at_once
        clock.advance(2 * START_SECONDS + 1)
        assert standby.tick()

    launched.before_state = slow
    assert not first.tick()
    changes = Ledger(db, clock).entries(kind="retrain.status", subject="k1")
    assert [entry.payload["status"] for entry in changes] == ["running", "pending"]
    assert the_one(requests).attempts == 1
    clock.advance(2 * LEASE_SECONDS)
    assert first.tick(), "it may lead again"


def test_who_is_alone_gets_on_with_every_request_however_slow_the_answers(
    db: Database, clock: ManualClock, requests: RetrainStore
) -> None:
    requests.create(request("k2", model="other"))
    launched = Launched()
    launched.before_claim = launched.before_state = lambda: clock.advance(3 * START_SECONDS)
    one = dispatcher(db, clock, launched, "a")
    assert one.tick()
    assert launched.made == ["k1", "k2"]
    launched.runs = dict.fromkeys(launched.runs, "succeeded")
    assert one.tick()
    assert {item.status for item in requests.list()} == {"succeeded"}
