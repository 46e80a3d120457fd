"""An operator's gauges say how the objects are that there are, and nothing of those that it no longer leads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from serving.operator.metrics import Metrics, rolled_back
from serving.rollout.state import RolloutState, Transition
from tidegate.kube_codec import to_kube


def body(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"runtimeRef": {"name": "small"}}, "status": status}


def holds(kind: str, status: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "AReason", "message": "MLflow is away"}


def moved(to: str, reason: str, *, since: str = "Step", at: str = "2026-03-01T00:00:00.000000Z") -> dict[str, str]:
    return {"fromPhase": since, "toPhase": to, "reason": reason, "time": at}


def test_gauges_follow_what_the_objects_say() -> None:
    metrics = Metrics()
    cards = body("cards", phase="Step", weight=10, pairs=7, conditions=[holds("Degraded", "True")])
    metrics.show([cards, body("new")], [{"metadata": {"name": "cards"}, "spec": {"epoch": 4}}], [])
    said = metrics.render().decode()
    assert 'tidegate_rollout_phase{deployment="cards",phase="Step"} 1.0' in said
    assert 'tidegate_rollout_phase{deployment="cards",phase="Paused"} 0.0' in said
    assert 'tidegate_rollout_candidate_weight_percent{deployment="cards"} 10.0' in said
    assert 'tidegate_rollout_pairs{deployment="cards"} 7.0' in said
    assert 'tidegate_routing_published_epoch{deployment="cards"} 4.0' in said
    assert 'tidegate_deployment_degraded{deployment="cards"} 1.0' in said
    assert 'tidegate_deployment_degraded{deployment="new"} 0.0' in said


def test_a_deployment_that_is_gone_has_no_gauges() -> None:
    metrics = Metrics()
    metrics.show([body("cards", phase="Step"), body("loans", phase="Succeeded")], [], [])
    metrics.show([body("loans", phase="Succeeded")], [], [])
    said = metrics.render().decode()
    assert 'deployment="cards"' not in said
    assert 'tidegate_rollout_phase{deployment="loans",phase="Succeeded"} 1.0' in said


def test_a_runtime_is_as_ready_as_its_condition_says() -> None:
    metrics = Metrics()
    works = body("works", replicasReady=2, replicasWanted=3, conditions=[holds("Ready", "True")])
    fails = body("fails", conditions=[holds("Ready", "False")])
    metrics.show([], [], [works, fails, {"metadata": {"name": "just-made"}}])
    said = metrics.render().decode()
    assert 'tidegate_runtime_ready{runtime="works"} 1.0' in said
    assert 'tidegate_runtime_replicas{runtime="works",state="ready"} 2.0' in said
    assert 'tidegate_runtime_replicas{runtime="works",state="wanted"} 3.0' in said
    assert 'tidegate_runtime_ready{runtime="fails"} 0.0' in said
    assert 'tidegate_runtime_ready{runtime="just-made"} 0.0' in said


@pytest.mark.parametrize(("ready", "shown"), [("True", "1.0"), ("False", "0.0"), ("Unknown", "0.0")])
def test_a_deployment_serves_while_replicas_are_known_to_answer_for_its_version(ready: str, shown: str) -> None:
    metrics = Metrics()
    metrics.show([body("cards", stable="7", conditions=[holds("Ready", ready)])], [], [])
    assert f'tidegate_deployment_serving{{deployment="cards",runtime="small"}} {shown}' in metrics.render().decode()


def test_before_its_first_version_a_deployment_cannot_fail_to_serve() -> None:
    """A runtime that was just made, and takes minutes to load, pages nobody."""
    metrics = Metrics()
    metrics.show([body("cards", phase="Preflight", conditions=[holds("Ready", "False")])], [], [])
    assert "tidegate_deployment_serving{" not in metrics.render().decode()


def test_a_standby_shows_no_object_but_counts_from_0() -> None:
    """Else the first decision of the next leader would be a series that begins at 1, which `increase` does not see."""
    metrics = Metrics()
    state = {"history": [moved("RollingBack", "HarmFound")]}
    metrics.show([body("cards", stable="7", phase="Step", state=state)], [], [body("small")])
    metrics.show([], [], [])
    metrics.expect(["cards"])
    samples = [line for line in metrics.render().decode().splitlines() if "{" in line and "_created{" not in line]
    assert all(line.startswith("tidegate_rollout_transitions_total{") and line.endswith(" 0.0") for line in samples)
    assert (
        'tidegate_rollout_transitions_total{deployment="cards",phase="RollingBack",reason="HarmFound"} 0.0' in samples
    )
    metrics.transitions.labels("cards", "RollingBack", "HarmFound").inc()
    metrics.expect(["cards"])
    assert 'reason="HarmFound"} 1.0' in metrics.render().decode()


def test_a_rollback_is_a_point_in_time_whoever_leads() -> None:
    state = {
        "history": [
            moved("RollingBack", "HarmFound"),
            moved("RolledBack", "HarmFound", since="RollingBack"),
            moved("Preflight", "Retried", since="RolledBack"),
            moved("RollingBack", "HarmFound", at="2026-03-02T00:00:00.500000Z"),
            moved("RollingBack", "ActionRefused", since="RollingBack", at="2026-03-03T00:00:00.000000Z"),
            moved("RollingBack", "Aborted", since="Baking", at="2026-02-01T00:00:00.000000Z"),
        ]
    }
    assert rolled_back({"state": state}) == {"HarmFound": 1772409600.5, "Aborted": 1769904000.0}
    metrics = Metrics()
    metrics.show([body("cards", state=state)], [], [])
    wanted = 'tidegate_rollout_rolled_back_timestamp_seconds{deployment="cards",reason="HarmFound"} 1.7724096005e+09'
    assert wanted in metrics.render().decode()


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"history": None},
        {"history": "x"},
        {"history": [{}]},
        {"history": [moved("RollingBack", "x", at="y")]},
    ],
)
def test_a_state_that_is_not_understood_says_nothing_of_rollbacks(state: Any) -> None:
    assert rolled_back({"state": state}) == {}


def test_the_state_that_a_controller_writes_is_understood() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    transition = Transition(
        time=at,
        rollout="cards-v8-abc-4",
        from_phase="Step",
        to_phase="RollingBack",
        step="small",
        weight=0.0,
        reason="HarmFound",
        message="It is worse.",
    )
    state = RolloutState(deployment="cards", stable="7", history=(transition,))
    assert rolled_back({"state": to_kube(state)}) == {"HarmFound": at.timestamp()}
