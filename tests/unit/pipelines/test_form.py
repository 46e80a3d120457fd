"""What KFP's pages show as the form of a run is what docs/pipelines.md tells of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compile import PIPELINES
from pipelines.packages import compile_site
from pipelines.site import read_site
from tidegate.adapters.kfp_packages import read_package

_PAGE = Path(__file__).parents[3] / "docs" / "pipelines.md"
_ROW = re.compile(r"^\| `(\w+)` \| ([\w ]+) \| (must be given|`(.*)`) \| (.+) \|$")
_TYPES = {
    "text": "STRING",
    "whole number": "NUMBER_INTEGER",
    "number": "NUMBER_DOUBLE",
    "true or false": "BOOLEAN",
    "mapping": "STRUCT",
    "list": "LIST",
}
_REQUIRED = object()


def documented() -> dict[str, dict[str, tuple[str, Any, str]]]:
    """By pipeline and parameter: type, default, description."""
    found: dict[str, dict[str, tuple[str, Any, str]]] = {}
    name = ""
    for line in _PAGE.read_text(encoding="utf-8").partition("## Parameters")[2].splitlines():
        if line.startswith("### "):
            name = line.removeprefix("### ")
        elif row := _ROW.match(line):
            default = _REQUIRED if row[3] == "must be given" else json.loads(row[4])
            text = row[5].replace("&lt;", "<").replace("\\|", "|")
            found.setdefault(name, {})[row[1]] = (_TYPES[row[2]], default, text)
    return found


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[str, Any, str]]]:
    """As KFP's pages read them from the packages of a site."""
    made = {}
    for path in compile_site(read_site(None), tmp_path_factory.mktemp("packages")):
        package = read_package(path)
        inputs = package.spec["root"]["inputDefinitions"]["parameters"]
        made[package.name] = {
            name: (
                item["parameterType"],
                item["defaultValue"] if item.get("isOptional") else _REQUIRED,
                " ".join(item["description"].split()),
            )
            for name, item in inputs.items()
        }
    return made


def test_the_form_is_what_is_documented(forms: dict[str, Any]) -> None:
    assert set(documented()) == {name.replace("_", "-") for name in PIPELINES}
    assert forms == documented()


def test_every_default_is_of_its_type(forms: dict[str, Any]) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "STRING": (str,),
        "NUMBER_INTEGER": (int, float),
        "NUMBER_DOUBLE": (int, float),
        "BOOLEAN": (bool,),
        "STRUCT": (dict,),
        "LIST": (list,),
    }
    known = set(pipeline_spec_pb2.ParameterType.ParameterTypeEnum.keys())
    for form in forms.values():
        for name, (kind, default, text) in form.items():
            assert kind in known
            assert text.endswith("."), name
            assert default is _REQUIRED or isinstance(default, kinds[kind]), name


def test_a_retraining_needs_to_be_told_the_deployment_alone(forms: dict[str, Any]) -> None:
    for name, wanted in (("retrain", "deployment"), ("drift-check", "deployment"), ("fine-tune", "data")):
        assert [key for key, (_, default, _) in forms[name].items() if default is _REQUIRED] == [wanted]
