"""From a ModelRuntime to Serve's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from serving.engines.catalog import render
from tidegate.adapters.serve_engines import includes
from tidegate.errors import InvalidInput
from tidegate.ports import AdapterSlot

SPEC: dict[str, Any] = {"baseModel": {"uri": "builtin:smollm2-135m-instruct"}}


def slot(name: str, rank: int = 8) -> AdapterSlot:
    return AdapterSlot(id=name, uri=f"/models/{name}", digest="sha256:" + "0" * 64, rank=rank)


def test_adapters_touch_the_user_config_only() -> None:
    none, two = (render("smollm2", SPEC, adapters) for adapters in ([], [slot("a"), slot("b")]))
    assert none["deployments"][0].pop("user_config") == {"adapters": []}
    assert [a["id"] for a in two["deployments"][0].pop("user_config")["adapters"]] == ["a", "b"]
    assert none == two


def test_the_route_and_the_base_model_id_follow_from_the_runtime() -> None:
    app = render("smollm2", SPEC, [])
    assert (app["name"], app["route_prefix"]) == ("smollm2", "/runtimes/smollm2")
    assert app["args"]["base_model_id"] == "smollm2-135m-instruct"


def test_a_range_of_replicas_is_an_autoscaling_configuration() -> None:
    engine = render("r", SPEC | {"placement": {"minReplicas": 1, "maxReplicas": 3}}, [])["deployments"][0]
    assert "num_replicas" not in engine
    assert engine["autoscaling_config"]["max_replicas"] == 3


@pytest.mark.parametrize(
    ("engine", "adapters", "names"),
    [
        ({"type": "VLLM"}, [], "VLLM"),
        ({"quantization": "AWQ"}, [], "quantization"),
        ({"maxAdapters": 1}, ["a", "b"], "maxAdapters"),
        ({"maxAdapterRank": 4}, ["a"], "rank 8"),
        ({}, ["a", "a"], "repeat"),
    ],
)
def test_what_does_not_fit_is_refused(engine: dict[str, Any], adapters: list[str], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        render("r", SPEC | {"engine": engine}, [slot(name) for name in adapters])


@pytest.mark.parametrize(
    ("have", "want", "result"),
    [
        ({"a": 1, "default": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": 1}, {"a": 2}, False),
    ],
)
def test_a_declared_configuration_is_recognised_among_serves_defaults(have: Any, want: Any, result: bool) -> None:
    assert includes(have, want) is result
