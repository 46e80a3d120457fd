"""Compiled packages are goldens: what is committed is what the code compiles to, and says what the UI's form shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compile import COMPILED, PIPELINES, compile_all
from tidegate.adapters.kfp_packages import caches


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.stem: path for path in compile_all(tmp_path_factory.mktemp("compiled"))}


def package(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = next(yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text()))
    return spec


def tasks(name: str) -> dict[str, Any]:
    found: dict[str, Any] = package(name)["root"]["dag"]["tasks"]
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_the_golden_is_what_the_code_compiles_to(name: str, fresh: dict[str, Path]) -> None:
    assert fresh[name].read_text() == (COMPILED / f"{name}.yaml").read_text(), "run: make docs"


@pytest.mark.parametrize("name", PIPELINES)
def test_the_package_is_a_pipeline_spec(name: str) -> None:
    spec = json_format.ParseDict(package(name), pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == name.replace("_", "-")


@pytest.mark.parametrize("name", PIPELINES)
def test_every_parameter_is_described_for_the_form(name: str) -> None:
    parameters = package(name)["root"]["inputDefinitions"]["parameters"]
    bare = [key for key, value in parameters.items() if not value.get("description")]
    assert bare == []


@pytest.mark.parametrize("name", PIPELINES)
def test_every_step_describes_its_parameters(name: str) -> None:
    bare = [
        f"{component}.{key}"
        for component, spec in package(name)["components"].items()
        for key, value in spec.get("inputDefinitions", {}).get("parameters", {}).items()
        if not value.get("description")
    ]
    assert bare == []


@pytest.mark.parametrize("name", ["fine_tune", "retrain"])
def test_no_step_has_a_parameter_that_the_pipeline_does_not_hand_on(name: str) -> None:
    components = package(name)["components"]
    kept_back = [
        f"{step}.{parameter}"
        for step, task in tasks(name).items()
        for parameter in components[task["componentRef"]["name"]]["inputDefinitions"]["parameters"]
        if parameter not in task["inputs"]["parameters"]
    ]
    assert kept_back == [], "nobody could set it"


@pytest.mark.parametrize("name", ["fine_tune", "retrain"])
def test_a_user_sets_how_many_workers_train_and_how_long_a_row_and_an_answer_may_be(name: str) -> None:
    given = {step: task["inputs"]["parameters"] for step, task in tasks(name).items()}
    for step, parameter in (("fine-tune", "workers"), ("fine-tune", "max_tokens"), ("evaluate", "max_answer_tokens")):
        assert given[step][parameter] == {"componentInputParameter": parameter}


@pytest.mark.parametrize("name", PIPELINES)
def test_no_step_is_cached_since_the_same_parameters_are_not_the_same_work(name: str) -> None:
    """A file changes under its address, an alias moves, a window ends now; and to register is an effect.

    KFP's key knows none of it: a first training by night would find last night's results and register nothing.
    """
    assert caches(package(name)) == []
    assert all("cachingOptions" in task for task in tasks(name).values()), "off by word: KFP caches by default"


def test_retraining_and_training_are_the_same_steps() -> None:
    assert set(tasks("retrain")) - {"new-rows"} == set(tasks("fine_tune"))


@pytest.mark.parametrize("name", PIPELINES)
def test_no_package_installs_anything_or_names_a_path_of_a_machine(name: str) -> None:
    text = (COMPILED / f"{name}.yaml").read_text()
    assert "pip install" not in text
    assert "/home/" not in text
    assert "/root/" not in text


def test_the_steps_show_what_the_ui_draws() -> None:
    kinds = {
        artifact["artifactType"]["schemaTitle"]
        for component in package("fine_tune")["components"].values()
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    }
    assert {"system.Metrics", "system.ClassificationMetrics", "system.HTML", "system.Markdown"} <= kinds


def test_the_trigger_of_a_retraining_reaches_the_registered_version() -> None:
    inputs = tasks("retrain")["register"]["inputs"]["parameters"]
    assert inputs["trigger"] == {"componentInputParameter": "trigger"}
    assert json.dumps(tasks("fine_tune")["register"]["inputs"]["parameters"]["trigger"]).count("constant") == 1


@pytest.mark.parametrize("name", PIPELINES)
def test_no_step_gives_an_artifact_an_address_of_the_platform_s_own(name: str) -> None:
    """KFP's launcher opens what an artifact's address names, with credentials for its own bucket alone."""
    executors = package(name)["deploymentSpec"]["executors"].values()
    programs = ["\n".join(item["container"]["command"]) for item in executors]
    assert all("def " in program for program in programs)
    assert not [found for program in programs for found in re.findall(r"\w+\.uri = .*", program)]
