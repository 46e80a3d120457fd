from datetime import timedelta

import pytest

from tests.unit.store.examples import table
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.store.routing import RoutingStore


@pytest.fixture
def ledger(db: Database, clock: ManualClock) -> Ledger:
    return Ledger(db, clock)


def test_what_was_in_production_is_what_was_published_last_before_that_moment(
    ledger: Ledger, db: Database, clock: ManualClock
) -> None:
    routing, start = RoutingStore(db, clock), clock.now()
    assert ledger.serving_at("intent-assistant", start) is None
    routing.publish(table(1), reason="first version")
    clock.advance(100)
    decision = ledger.append(
        "rollout.decision", "intent-assistant", {"reason": "not worse on 300 pairs"}, actor="controller", rollout="r1"
    )
    routing.publish(table(2, 25.0, rollout="r1", step="canary"))
    clock.advance(100)

    before = ledger.serving_at("intent-assistant", start + timedelta(seconds=99))
    assert before is not None
    assert [(arm.version, arm.weight) for arm in before.arms] == [("1", 100.0)]
    assert before.why == "first version"

    after = ledger.serving_at("intent-assistant", start + timedelta(seconds=100))
    assert after is not None
    assert [(arm.role, arm.version, arm.weight) for arm in after.arms] == [
        ("stable", "1", 75.0),
        ("candidate", "2", 25.0),
    ]
    assert (after.epoch, after.step, after.rollout) == (2, "canary", "r1")
    assert after.why == "not worse on 300 pairs"
    assert after.decision_entry == decision.id
    assert after.since == start + timedelta(seconds=100)


def test_decisions_of_other_rollouts_and_of_later_are_not_the_reason(
    ledger: Ledger, db: Database, clock: ManualClock
) -> None:
    routing = RoutingStore(db, clock)
    ledger.append("rollout.decision", "intent-assistant", {"reason": "other"}, actor="c", rollout="r0")
    ledger.append("rollout.transition", "intent-assistant", {"reason": "shadow ends"}, actor="c", rollout="r1")
    routing.publish(table(1, 10.0, rollout="r1"))
    ledger.append("rollout.decision", "intent-assistant", {"reason": "harm"}, actor="c", rollout="r1")
    found = ledger.serving_at("intent-assistant", clock.now())
    assert found is not None
    assert found.why == "shadow ends"


def test_the_publishers_own_reason_and_decision_come_first(ledger: Ledger, db: Database, clock: ManualClock) -> None:
    ledger.append("rollout.decision", "intent-assistant", {"reason": "general"}, actor="c", rollout="r1")
    RoutingStore(db, clock).publish(table(1, 10.0, rollout="r1"), reason="rolled back: harm", decision="d-1")
    found = ledger.serving_at("intent-assistant", clock.now())
    assert found is not None
    assert (found.why, found.decision_entry) == ("rolled back: harm", "d-1")
    assert ledger.serving_at("another", clock.now()) is None
