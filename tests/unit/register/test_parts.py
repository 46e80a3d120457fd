"""What a version is made of: base store, shipped code, lineage, model card, server command."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.register.base_store import store_base
from components.register.card import model_card
from components.register.lineage import COMMIT_VARIABLE, code_commit
from components.register.shipped import requirements, ship_code
from tests.integration.registry.documents import NOW, version_document
from tidegate.adapters.base_model_files import base_digest
from tidegate.adapters.mlflow_server import mlflow_environment, mlflow_server
from tidegate.domain.evaluation import GateCheck, GateOverride, GateVerdict
from tidegate.domain.manifest import DataManifest, SplitInfo, StageAccount
from tidegate.domain.training import Hyperparameters, TrainingResult
from tidegate.domain.version import ModelVersion
from tidegate.errors import ContractBroken
from tidegate.ids import digest_bytes

DIGEST = digest_bytes(b"data")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "base"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


def test_base_is_stored_once_by_digest_and_takes_no_room(base: Path, tmp_path: Path) -> None:
    digest = base_digest(base)
    first = store_base(base, digest, str(tmp_path / "store"))
    assert store_base(base, digest, str(tmp_path / "store")) == first
    place = Path(first)
    assert place.name == digest.removeprefix("sha256:")
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]  # no pickle
    assert [path.name for path in place.parent.iterdir()] == [place.name]  # nothing half-made is left
    assert (place / "model.safetensors").samefile(base / "model.safetensors")


def test_base_with_another_digest_is_refused_and_not_stored(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match="has digest"):
        store_base(base, digest_bytes(b"other"), str(tmp_path / "store"))
    assert not any((tmp_path / "store").rglob("*.safetensors"))


def test_changed_stored_base_is_noticed(base: Path, tmp_path: Path) -> None:
    digest = base_digest(base)
    stored = Path(store_base(base, digest, str(tmp_path / "store")))
    (stored / "config.json").unlink()
    (stored / "config.json").write_text('{"changed": true}')
    with pytest.raises(ContractBroken, match="has digest"):
        store_base(base, digest, str(tmp_path / "store"))


def test_shipped_code_imports_nothing_that_is_not_shipped(tmp_path: Path) -> None:
    """In a fresh interpreter, from the shipped files alone."""
    ship_code(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tidegate.prompt, tidegate.tokens;"
        "print(tidegate.prompt.__file__)"
    )
    # -I: neither the working directory nor an editable checkout's PYTHONPATH comes before it.
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(tmp_path))


def test_requirements_pin_every_distribution_that_the_model_file_imports() -> None:
    source = Path(__file__).parents[3] / "components" / "register" / "model.py"
    imported = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    pinned = {line.split("==")[0] for line in requirements()}
    assert imported - set(sys.stdlib_module_names) - {"tidegate"} <= pinned
    assert all("==" in line and "+" not in line for line in requirements())


def test_commit_is_that_of_the_checkout_and_says_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    assert code_commit(tmp_path) == "unknown"
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert code_commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert code_commit(tmp_path) == f"{head}-dirty"
    monkeypatch.setenv(COMMIT_VARIABLE, "from-the-image")
    assert code_commit(tmp_path) == "from-the-image"


def _manifest() -> DataManifest:
    return DataManifest(
        source="rows | with a pipe <script>",
        source_digest=DIGEST,
        contract_hash=DIGEST,
        content_digest=DIGEST,
        stages=(StageAccount(stage="deduplicate", rows_in=12, rows_out=10, dropped={"exact_duplicate": 2}),),
        splits=(SplitInfo(name="test", rows=10, groups=5, digest=DIGEST),),
        labels=("a", "b"),
        synthetic_columns=("segment",),
        created_at=NOW,
    )


def _overridden(version: ModelVersion) -> ModelVersion:
    check = GateCheck(name="min_rows", passed=False, reason="3 test rows were evaluated, at least 40 are needed")
    report = version.report.model_copy(
        update={
            "gate": GateVerdict(passed=False, checks=(check,)),
            "override": GateOverride(by="ada", reason="a drill", at=NOW),
        }
    )
    return version.model_copy(update={"report": report})


def test_card_accounts_for_rows_and_marks_invented_columns() -> None:
    version = version_document(name="m", adapter_uri="/store/artifacts/adapter")
    card = model_card(version, _manifest(), training=None)
    assert "| deduplicate | 12 | 10 | exact_duplicate 2 |" in card
    assert "**Invented by the platform, independent of the label:** segment" in card
    assert "OVERRIDDEN" not in card
    for section in ("## Data", "## Evaluation", "## Limits", "## How to call it", "## Lineage"):
        assert section in card


def test_card_names_what_the_adapter_was_trained_with_and_on() -> None:
    training = TrainingResult(
        adapter_uri="/runs/1/fine-tune/adapter",
        adapter_digest=DIGEST,
        steps=30,
        first_loss=7.0,
        final_loss=0.5,
        train_tokens=9000,
        tokens_per_second=900.0,
        seconds=10.0,
        peak_memory_bytes=2**31,
        precision="bfloat16",
        device="2 x NVIDIA L4",
        cost=0.25,
        seed=4,
        hyperparameters=Hyperparameters(learning_rate=2e-3, max_tokens=256, workers=2),
    )
    version = version_document(name="m", adapter_uri="/store/artifacts/adapter")
    card = model_card(version, _manifest(), training=training)
    assert "bfloat16, 2 x NVIDIA L4, peak memory 2.0 GiB" in card
    for chosen in ("learning_rate 0.002", "max_tokens 256", "workers 2", "lora_rank 16", "warmup_fraction 0.1"):
        assert chosen in card
    older = model_card(version, _manifest(), training=training.model_copy(update={"hyperparameters": None}))
    assert "Hyper-parameters" not in older


def test_override_is_the_first_thing_the_card_says() -> None:
    version = _overridden(version_document(name="m", adapter_uri="/store/artifacts/adapter"))
    card = model_card(version, _manifest(), training=None)
    first = card.splitlines()[2]
    assert first.startswith("> ## ")
    assert "GATE OVERRIDDEN by ada" in first
    assert "at least 40 are needed" in first


def test_server_listens_on_loopback_and_unpickles_nothing(tmp_path: Path) -> None:
    command = mlflow_server(tmp_path, 5999)
    assert command.argv[command.argv.index("--host") + 1] == "127.0.0.1"
    assert command.argv[command.argv.index("--port") + 1] == "5999"
    assert command.env == mlflow_environment()
    assert command.env["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert command.env["MLFLOW_DISABLE_TELEMETRY"] == "true"
