"""An operator's gauges say how the deployments are that there are, and nothing of those that it no longer leads."""

from __future__ import annotations

from typing import Any

from serving.operator.announcer import Metrics


def body(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": status}


def test_gauges_follow_what_the_objects_say() -> None:
    metrics = Metrics()
    trouble = [{"type": "Degraded", "status": "True", "reason": "Degraded", "message": "MLflow is away"}]
    cards = body("cards", phase="Step", weight=10, pairs=7, conditions=trouble)
    metrics.show([cards, body("new")], [{"metadata": {"name": "cards"}, "spec": {"epoch": 4}}])
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
    metrics.show([body("cards", phase="Step"), body("loans", phase="Succeeded")], [])
    metrics.show([body("loans", phase="Succeeded")], [])
    said = metrics.render().decode()
    assert 'deployment="cards"' not in said
    assert 'tidegate_rollout_phase{deployment="loans",phase="Succeeded"} 1.0' in said
