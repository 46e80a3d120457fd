"""Values that the operator and the gateways keep in an API server come back from it as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.rollout.state import RolloutState
from tests.integration.kube.objects import accepted, create, made, path, status, thing
from tests.kube_api import KubeApi
from tests.unit.kernel.kube_values import rollout_states, routing_tables
from tidegate.domain.resource_status import ModelDeploymentStatus
from tidegate.domain.routing import RoutingTable
from tidegate.domain.routing_resource import ModelRoutingSpec, routing_spec, routing_table
from tidegate.kube_codec import from_kube, to_kube

pytestmark = pytest.mark.integration
_MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_MANY
@given(state=rollout_states())
def test_a_controllers_state(kube: KubeApi, namespace: str, state: RolloutState) -> None:
    body = thing("ModelDeployment")
    create(kube, namespace, body)
    whole = kube.request("GET", path("ModelDeployment", namespace, "intent-assistant")).json()
    whole["status"] = to_kube(ModelDeploymentStatus(phase=state.phase, state=to_kube(state)))
    where = path("ModelDeployment", namespace, "intent-assistant", "status") + "?fieldValidation=Strict"
    stored = accepted(kube.request("PUT", where, whole, user="operator"))["status"]
    read = from_kube(ModelDeploymentStatus, stored)
    assert read.state is not None
    assert to_kube(from_kube(RolloutState, read.state)) == to_kube(state)  # NaN is not equal to itself


def test_the_state_of_a_newer_controller_is_kept_whole_by_an_older_definition(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelDeployment")
    made(kube, namespace, body)
    newer: dict[str, Any] = to_kube(RolloutState(deployment="intent-assistant")) | {"invented": {"later": ["1"]}}
    stored = accepted(status(kube, namespace, body, {"state": newer}))
    assert stored["status"]["state"]["invented"] == {"later": ["1"]}
    assert from_kube(RolloutState, stored["status"]["state"]) == RolloutState(deployment="intent-assistant")


@_MANY
@given(table=routing_tables(), leader=st.integers(0, 2**63 - 1))
def test_a_routing_table(kube: KubeApi, namespace: str, table: RoutingTable, leader: int) -> None:
    spec = routing_spec(table, leader)
    body = thing("ModelRouting") | {"spec": to_kube(spec)}
    where = path("ModelRouting", namespace) + "?dryRun=All&fieldValidation=Strict"
    stored = accepted(kube.request("POST", where, body, user="operator"))
    assert from_kube(ModelRoutingSpec, stored["spec"]) == spec
    assert routing_table(from_kube(ModelRoutingSpec, stored["spec"])) == table
