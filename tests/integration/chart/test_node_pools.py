"""The chart's gpuNodePools are the operator's node pools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.chart.charts import CHART, Helm, one
from tests.integration.chart.value_sets import VALUE_SETS
from tidegate.domain.node_pools import NodePool, read_node_pools

pytestmark = pytest.mark.integration


def test_pools_are_what_the_operator_reads(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    for name in ("pools", "local and pools"):
        file.write_text(
            one(helm.render(VALUE_SETS[name]), "ConfigMap", "tidegate-node-pools")["data"]["node-pools.yaml"]
        )
        pools = read_node_pools(file)
        assert pools["gpu-l4"].price_per_hour == "3.25"
        assert pools["gpu-l4"].kueue_queue == "training"
        assert (pools["cpu"].cpu, pools["cpu"].price_per_hour) == ("2", "0.10")
    assert {mount["mountPath"] for mount in pools["gpu-l4"].volume_mounts} == {"/models", "/var/lib/tidegate-data"}
    assert pools["local"].volumes[0]["persistentVolumeClaim"] == {"claimName": "tidegate-data"}


def test_the_operator_is_told_the_pool_of_its_engines_heads(helm: Helm) -> None:
    name = "TIDEGATE_CLUSTER__HEAD_NODE_POOL"
    plain = VALUE_SETS["pools"]
    values = {**plain, "engines": {"head": {"nodePool": "cpu"}}}
    assert one(helm.render(values), "ConfigMap", "tidegate-platform")["data"][name] == "cpu"
    assert name not in one(helm.render(plain), "ConfigMap", "tidegate-platform")["data"]


def test_every_field_of_a_pool_can_be_set_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    offered = set(schema["properties"]["gpuNodePools"]["additionalProperties"]["properties"])
    assert offered == {str(field.alias or name) for name, field in NodePool.model_fields.items()}
