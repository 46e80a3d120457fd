"""Evaluation and registration against a real MLflow server, with the real base model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from components.evaluate.checks import BeatsBase, GateSpec, MinRows, NotWorse
from components.evaluate.logic import evaluate
from components.evaluate.spec import EvaluateResult, EvaluateSpec, Override
from components.register.export import export
from components.register.logic import register
from components.register.model import load, next_token_logits
from components.register.spec import RegisterResult, RegisterSpec
from tests.integration.registry.conftest import World
from tidegate import attestation
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.domain.evaluation import Attestation
from tidegate.errors import Conflict, GateFailed, NotFound
from tidegate.ledger import Ledger
from tidegate.prompt import GenerationDefaults, PromptTemplate

pytestmark = pytest.mark.integration
NAME = "banking-intent"
LENIENT = GateSpec(checks=(MinRows(rows=6), NotWorse()))
STRICT = GateSpec(checks=(BeatsBase(margin=0.9),))


@dataclass
class Heard:
    """A progress sink that keeps the sentences."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, message: str, numbers: Mapping[str, float]) -> None:
        self.lines.append(message)


def _evaluate(
    world: World, adapter: int, out: str, gate: GateSpec = LENIENT, heard: Heard | None = None, **more: object
) -> EvaluateResult:
    spec = EvaluateSpec.model_validate(
        {
            "data_uri": str(world.data),
            "adapter_uri": str(world.adapters[adapter]),
            "base": world.base,
            "gate": gate,
            "generation": {"max_tokens": 4},
            "out_uri": str(world.root / out),
            **more,
        }
    )
    return evaluate(spec, world.settings, ManualClock(), heard or Heard())


def _spec(world: World, adapter: int, evaluation: str, key: str) -> RegisterSpec:
    return RegisterSpec.model_validate(
        {
            "name": NAME,
            "key": key,
            "data_uri": str(world.data),
            "evaluation_uri": str(world.root / evaluation),
            "adapter_uri": str(world.adapters[adapter]),
            "base": world.base,
            "pipeline_run": key,
        }
    )


def _ledger(world: World) -> Ledger:
    return Ledger(Database.open(world.settings.database_url, migrate=True), ManualClock())


@pytest.fixture(scope="module")
def evaluated(world: World) -> EvaluateResult:
    return _evaluate(world, 0, "evaluation-1")


@pytest.fixture(scope="module")
def registered(world: World, evaluated: EvaluateResult) -> RegisterResult:
    return register(_spec(world, 0, "evaluation-1", "run-1"), world.settings, ManualClock(), Heard())


@pytest.fixture(scope="module")
def registry(world: World) -> MlflowRegistry:
    return MlflowRegistry(world.settings.mlflow_uri, cache=world.settings.cache)


def test_report_is_attested_and_compares_with_the_base_on_the_same_rows(
    world: World, evaluated: EvaluateResult
) -> None:
    report = evaluated.report
    assert report.metric("exact_match").n == 6
    assert [item.baseline for item in report.comparisons] == ["base"]
    key = attestation.load_or_create_key(world.settings.attestation_key_path)
    signed = Attestation.model_validate_json(Path(evaluated.attestation_uri).read_bytes())
    attestation.verify(report, signed, {attestation.key_id_of(key): key})
    assert sum(map(sum, evaluated.confusion.matrix)) == 6


def test_answers_have_room_for_the_longest_label(world: World) -> None:
    result = _evaluate(world, 0, "by-labels", generation=None)
    template = PromptTemplate.model_validate_json((world.data / "prompt.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(world.base.uri)
    longest = max(len(tokenizer(label)["input_ids"]) for label in template.labels)
    assert result.report.generation.max_tokens == longest + 1  # and its end


def test_failed_gate_ends_the_step_and_leaves_the_report(world: World, evaluated: EvaluateResult) -> None:
    heard = Heard()
    with pytest.raises(GateFailed, match="differs from base"):
        _evaluate(world, 0, "refused", gate=STRICT, heard=heard)
    report = json.loads((world.root / "refused" / "eval_report.json").read_text())
    assert report["gate"]["passed"] is False
    assert report["override"] is None
    with pytest.raises(GateFailed, match="did not pass its gate"):
        register(_spec(world, 0, "refused", "run-refused"), world.settings, ManualClock(), Heard())
    # The untuned base is asked once for the same rows, prompt and generation.
    assert "base: answers taken from the cache" in heard.lines
    assert report["comparisons"][0]["baseline_value"] == evaluated.report.comparisons[0].baseline_value


def test_version_carries_what_it_is_made_of(world: World, registered: RegisterResult, registry: MlflowRegistry) -> None:
    version = registry.get(NAME, registered.version.version)
    assert version == registered.version
    assert version.generation == version.report.generation == GenerationDefaults(max_tokens=4)
    assert Path(version.adapter.uri, "adapter_model.safetensors").is_file()
    assert version.lineage.data_digest == json.loads((world.data / "manifest.json").read_text())["content_digest"]
    assert Path(version.reference_uri).is_file()
    assert "Invented by the platform" in registered.card
    assert registry.by_alias(NAME, "challenger") == version
    kinds = [entry.kind for entry in _ledger(world).entries() if entry.kind in {"version.registered", "alias.set"}]
    assert kinds == ["version.registered", "alias.set"]


def test_same_key_registers_once(world: World, registered: RegisterResult, registry: MlflowRegistry) -> None:
    again = register(_spec(world, 0, "evaluation-1", "run-1"), world.settings, ManualClock(), Heard())
    assert not again.created
    assert again.version == registered.version
    assert len(registry.versions(NAME)) == 1
    assert len(_ledger(world).entries(kind="version.registered")) == 1


def test_reloaded_logits_are_the_logged_ones(world: World, registered: RegisterResult) -> None:
    documents = Path(registered.model_uri, "artifacts", "tidegate")
    prompts = json.loads((documents / "reference_prompts.json").read_text())
    wanted = load_file(str(documents / "reference_logits.safetensors"))["logits"]
    base = json.loads((documents / "base.json").read_text())
    tokenizer, model = load(Path(base["uri"]), documents.parent / "adapter", documents.parent / "tokenizer")
    torch.testing.assert_close(next_token_logits(tokenizer, model, prompts), wanted, atol=1e-3, rtol=0)
    with model.disable_adapter():
        bare = next_token_logits(tokenizer, model, prompts)
    assert (bare - wanted).abs().max() > 0.1  # so a lost adapter would be seen


def test_model_answers_texts_and_conversations(registered: RegisterResult) -> None:
    model = mlflow.pyfunc.load_model(registered.model_uri)
    texts = model.predict(pd.DataFrame([{"text": "where is my card", "segment": "retail", "tenure_years": 2.0}]))
    turns = [{"role": "user", "content": "where is my card"}]
    chat = model.predict(pd.DataFrame([{"messages": turns, "segment": "retail", "tenure_years": 2.0}]))
    assert texts == chat
    assert len(texts) == 1


def test_changed_adapter_is_refused_at_load(registered: RegisterResult, tmp_path: Path, world: World) -> None:
    copy = tmp_path / "model"
    shutil.copytree(registered.model_uri, copy)
    weights = "adapter_model.safetensors"
    shutil.copyfile(world.adapters[1] / weights, copy / "artifacts" / "adapter" / weights)
    with pytest.raises(RuntimeError, match="logits differ"):
        mlflow.pyfunc.load_model(str(copy))


def test_second_version_is_compared_with_the_champion_and_overridden_openly(
    world: World, registered: RegisterResult, registry: MlflowRegistry
) -> None:
    registry.set_alias(NAME, "champion", registered.version.version)
    override = Override(by="ada", reason="a drill")
    _evaluate(world, 1, "evaluation-2", gate=STRICT, champion=f"{NAME}@champion", override=override)
    # The step runs again, as after a lost pod: the override stays one fact.
    result = _evaluate(world, 1, "evaluation-2", gate=STRICT, champion=f"{NAME}@champion", override=override)
    assert [item.baseline for item in result.report.comparisons] == ["base", registered.version.key]
    entries = _ledger(world).entries(kind="gate.overridden", subject=result.report.candidate)
    assert [(entry.actor, entry.payload["reason"]) for entry in entries] == [("ada", "a drill")]

    second = register(_spec(world, 1, "evaluation-2", "run-2"), world.settings, ManualClock(), Heard())
    assert "GATE OVERRIDDEN by ada" in second.card.splitlines()[2]
    assert registry.tags(NAME, second.version.version)["tidegate.gate"] == "overridden"
    assert [version.key for version in registry.versions(NAME)] == [registered.version.key, second.version.key]
    assert second.version.base.uri == registered.version.base.uri
    assert len(list(Path(second.version.base.uri).parent.iterdir())) == 1  # the base lies there once

    late = register(_spec(world, 0, "evaluation-1", "run-1"), world.settings, ManualClock(), Heard())
    assert not late.created
    nominated = registry.by_alias(NAME, "challenger")
    assert nominated is not None
    assert nominated.key == second.version.key  # a late rerun does not take the nomination back


def test_export_loads_alone(registered: RegisterResult, world: World, tmp_path: Path) -> None:
    """In a process without tidegate on its path, without a base store, without a server and without a network."""
    folder = export(registered.version, tmp_path / "exported", cache=world.settings.cache)
    assert (folder / "artifacts" / "base" / "model.safetensors").is_file()
    assert "## How to call it" in (folder / "README.md").read_text()
    with pytest.raises(Conflict, match="exists already"):
        export(registered.version, folder, cache=world.settings.cache)
    example = json.loads((folder / "input_example.json").read_text())
    row = dict(zip(example["columns"], example["data"][0], strict=True))
    script = f"""
import sys, json, socket
sys.modules["tidegate.settings"] = None  # what is not shipped must not be needed
def refuse(*a, **k): raise OSError("no network")
socket.socket.connect = refuse
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model({str(folder)!r})
import tidegate.prompt
print(json.dumps([tidegate.prompt.__file__, model.predict(pd.DataFrame([{row!r}]))]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _, answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == mlflow.pyfunc.load_model(registered.model_uri).predict(pd.DataFrame([row]))


def test_what_is_not_there_is_named_with_what_is(registered: RegisterResult, registry: MlflowRegistry) -> None:
    with pytest.raises(NotFound, match=r"no version '99'.*Its versions are 1"):
        registry.get(NAME, "99")
    with pytest.raises(NotFound, match=rf"no version of 'nobody'.*{NAME}"):
        registry.get("nobody", "1")
    assert registry.by_alias(NAME, "nobody") is None
    assert registry.by_alias("nobody", "champion") is None
