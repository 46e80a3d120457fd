"""What an operator shows at /metrics depends on whether it leads."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from serving.operator.assembly import Operator
from serving.operator.metrics import Metrics
from serving.operator.web import serve

CARDS: dict[str, Any] = {
    "metadata": {"name": "cards"},
    "spec": {"runtimeRef": {"name": "small"}},
    "status": {"stable": "7", "phase": "Succeeded"},
}


@pytest.fixture
def operator() -> Operator:
    """It knows a deployment, and has led."""
    metrics = Metrics()
    metrics.show([CARDS], [], [{"metadata": {"name": "small"}}])
    metrics.waiting.set(3)
    objects = SimpleNamespace(all=lambda kind: [CARDS] if kind.kind == "ModelDeployment" else [])
    return cast(Operator, SimpleNamespace(metrics=metrics, objects=objects, controller=SimpleNamespace(leads=True)))


@pytest.fixture
def url(operator: Operator) -> Iterator[str]:
    server = serve(operator, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    server.shutdown()


def test_a_leader_shows_its_objects(url: str) -> None:
    said = httpx.get(url, trust_env=False).text
    assert "tidegate_operator_leading 1.0" in said
    assert 'tidegate_deployment_serving{deployment="cards",runtime="small"} 0.0' in said
    assert 'tidegate_runtime_ready{runtime="small"} 0.0' in said


def test_a_standby_shows_none_and_its_counters_begin_before_it_leads(url: str, operator: Operator) -> None:
    cast(Any, operator).controller.leads = False
    said = httpx.get(url, trust_env=False).text
    assert "tidegate_operator_leading 0.0" in said
    assert "tidegate_ledger_facts_waiting 0.0" in said
    for gauge in ("deployment_serving", "runtime_ready", "rollout_phase"):
        assert f"tidegate_{gauge}{{" not in said
    first = 'tidegate_rollout_transitions_total{deployment="cards",phase="RollingBack",reason="HarmFound"} 0.0'
    assert first in said
