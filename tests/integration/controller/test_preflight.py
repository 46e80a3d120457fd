"""A gate on a metric that the stable version does not emit is refused before any request, and heals when it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.controller.conftest import Make
from tests.integration.controller.test_known_bugs import users
from tests.integration.controller.world import NAME, World, deployment
from tidegate.clock import ManualClock
from tidegate.domain.evidence import PairEvent
from tidegate.ids import new_id

pytestmark = pytest.mark.integration

LATENCY = {"name": "ttft-p95", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePercent": 20}
JUDGED = {"name": "judge-score", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "10"}
HALF = [{"name": "half", "weight": 50}]


def serving(make: Make, home: Path, clock: ManualClock, **rollout: object) -> World:
    world = make(home, clock)
    world.set_up(**rollout)
    world.until("Succeeded")
    return world


def refused(world: World, metric: str, remedy: str) -> None:
    """Version 2 stays in preflight, which names the metric; nobody is routed to it."""
    world.nominate("2")
    world.until("Preflight")
    for _ in range(4):
        world.tick()
    assert (world.state.phase, world.state.reason) == ("Preflight", "MetricAbsent")
    assert f"Metric {metric} is not measured for the stable version 1" in world.state.message
    assert remedy in world.state.message
    assert users(world) == {"1": 100.0}
    published = [entry.payload["table"] for entry in world.ledger.entries(kind="routing.published", subject=NAME)]
    assert not [arm for table in published for arm in table["arms"] if arm["version"] == "2"]


def test_a_gate_on_a_latency_without_recent_requests_waits_for_them(make: Make, tmp_path: Path) -> None:
    clock = ManualClock()
    world = serving(make, tmp_path, clock, metrics=[LATENCY], steps=HALF)
    clock.advance(700)  # the requests of the beginning are no longer recent
    world.no_traffic = True
    refused(world, "ttft-p95", "Send requests")
    world.no_traffic = False
    world.until("Step")


def test_a_gate_on_a_scorer_that_has_never_scored_waits_for_it(make: Make, tmp_path: Path) -> None:
    world = serving(make, tmp_path, ManualClock(), metrics=[JUDGED])
    refused(world, "judge-score", "have its scorer score")
    event = PairEvent(
        rollout="an-earlier-one",
        pair=new_id(),
        scorer="judge-score",
        stable_score=0.8,
        candidate_score=None,
        user=new_id(),
        step="shadow",
        time=world.clock.now(),
    )
    world.parts.evidence.add_scores([event], [])
    for _ in range(2):
        world.tick()
    assert world.state.reason != "MetricAbsent", world.state.message


def test_a_name_that_no_metric_has_is_corrected_in_the_plan(make: Make, tmp_path: Path) -> None:
    wrong = {"name": "exact-mach", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"}
    world = serving(make, tmp_path, ManualClock(), metrics=[wrong])
    refused(world, "exact-mach", "Correct its name")
    world.apply(deployment())
    world.until("Shadow")


def test_a_deadline_that_passes_in_preflight_ends_nothing(make: Make, tmp_path: Path) -> None:
    """What waits for a metric is not rolled back for that: no request has been judged yet."""
    clock = ManualClock()
    world = serving(make, tmp_path, clock, metrics=[LATENCY], steps=HALF, onInconclusive="Rollback")
    clock.advance(700)
    world.no_traffic = True
    refused(world, "ttft-p95", "Send requests")
    clock.advance(1000)
    world.no_traffic = False
    world.until("Step")
    for _ in range(3):
        world.tick()
    assert world.state.phase == "Step"
