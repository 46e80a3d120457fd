"""The definitions follow the models, and the generator stops where they cannot."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from tidegate.domain.kinds import CLUSTER_KINDS, Kind
from tidegate.domain.resource_base import Resource

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def crds(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "hack"))
    return importlib.import_module("crds")


def test_a_validator_without_a_rule_stops_the_generator(crds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = CLUSTER_KINDS["ModelRuntime"]
    monkeypatch.delitem(crds.MODEL_RULES, "Placement")
    with pytest.raises(TypeError, match=r"Placement\._ordered has no rule in hack/crd_rules\.py"):
        crds.definition(kind)


def test_a_type_with_a_validator_and_no_rule_stops_the_generator(crds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(crds.TYPE_RULES, "_points")
    with pytest.raises(TypeError, match=r"_points of RolloutMetric has no rule"):
        crds.definition(CLUSTER_KINDS["ModelDeployment"])


def test_a_float_stops_the_generator(crds: Any) -> None:
    class Status(Resource):
        """A status."""

        share: float = 0.5

    runtime = CLUSTER_KINDS["ModelRuntime"]
    kind = Kind(model=runtime.model, status=Status, plural=runtime.plural, short=runtime.short)
    with pytest.raises(TypeError, match=r"a float in .*: use a decimal text"):
        crds.definition(kind)


@pytest.mark.parametrize("kind", CLUSTER_KINDS)
def test_every_list_text_and_number_of_a_spec_is_bounded(crds: Any, kind: str) -> None:
    version = crds.definition(CLUSTER_KINDS[kind])["spec"]["versions"][0]
    unbounded = list(_unbounded(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec"))
    assert unbounded == []


def _unbounded(schema: dict[str, Any], where: str) -> list[str]:
    """Places whose rules Kubernetes would take to be as expensive as the largest object."""
    found = []
    kind = schema["type"]
    if kind == "string" and not {"maxLength", "enum", "format"} & set(schema):
        found.append(where)
    if kind == "integer" and not {"maximum", "format"} & set(schema):
        found.append(where)
    if kind == "array":
        found += [] if "maxItems" in schema else [where]
        found += _unbounded(schema["items"], f"{where}[]")
    for name, part in schema.get("properties", {}).items():
        found += _unbounded(part, f"{where}.{name}")
    return found
