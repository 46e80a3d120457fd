"""A routing table on a cluster is the routing table."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from pydantic import ValidationError

from tests.unit.kernel.kube_values import routing_tables
from tidegate.domain.resource_status import short_duration
from tidegate.domain.routing import RoutingTable
from tidegate.domain.routing_resource import ModelRoutingSpec, removed_spec, routing_spec, routing_table
from tidegate.kube_codec import from_kube, to_kube

_NOW = datetime(2026, 3, 1, tzinfo=UTC)


@given(routing_tables())
def test_a_table_survives_the_way_through_a_cluster(table: RoutingTable) -> None:
    written = json.loads(json.dumps(to_kube(routing_spec(table, leader_epoch=3))))
    assert routing_table(from_kube(ModelRoutingSpec, written)) == table
    assert written["leaderEpoch"] == 3


@given(routing_tables())
def test_a_removed_routing_keeps_name_and_epoch_and_is_no_table(table: RoutingTable) -> None:
    spec = removed_spec(routing_spec(table, 1), epoch=9, leader_epoch=2, updated_at=_NOW)
    read = from_kube(ModelRoutingSpec, to_kube(spec))
    assert (read.deployment, read.epoch, read.removed, read.arms) == (table.deployment, 9, True, ())
    assert routing_table(read) is None


@given(routing_tables())
def test_a_broken_percent_is_refused_by_name(table: RoutingTable) -> None:
    odd = table.model_copy(update={"mirror": table.mirror.model_copy(update={"percent": 12.5})})
    with pytest.raises(ValueError, match=r"mirror share is 12\.5%; a ModelRouting takes whole percents only"):
        routing_spec(odd, leader_epoch=1)


@given(routing_tables())
def test_arms_that_do_not_make_a_table_are_refused(table: RoutingTable) -> None:
    spec = to_kube(routing_spec(table, leader_epoch=1))
    stable = spec["arms"][0] | {"weight": 100}
    for arms, problem in (
        ([stable, stable], "two arms have the role Stable"),
        ([stable | {"role": "Candidate"}], "exactly one arm must be Stable"),
        ([stable | {"weight": 99}], "the weights sum to 99, not to 100"),
        ([], "exactly one arm must be Stable"),
    ):
        with pytest.raises(ValidationError, match=problem):
            from_kube(ModelRoutingSpec, spec | {"arms": arms})
    with pytest.raises(ValidationError, match="a removed routing has no arms"):
        from_kube(ModelRoutingSpec, spec | {"removed": True})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (725, "12m"), (3600, "1h"), (11_100, "3h5m"), (187_300, "2d4h")],
)
def test_durations_for_columns(seconds: int, text: str) -> None:
    assert short_duration(seconds) == text
