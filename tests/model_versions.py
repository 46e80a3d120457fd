"""Versions of the small model for tests: adapters that were really trained, registered in a real MLflow."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from components.datasets.rows import TrafficMessage
from components.fine_tune.logic import run as fine_tune
from serving.engines.adapter_files import adapter_digest
from tests.integration.registry.documents import version_document
from tests.mlflow_process import Server
from tidegate import attestation
from tidegate.adapters import storage
from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.mlflow_models import MlflowModels
from tidegate.adapters.mlflow_registry import ADAPTER_PATH, VERSION_PATH, MlflowRegistry
from tidegate.ids import digest_bytes, digest_json
from tidegate.prompt import GenerationDefaults, PromptTemplate
from tidegate.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
BASE = "builtin:smollm2-135m-instruct"
MODEL = "banking-intent"
_TEXTS = {
    "card_arrival": ("where is my new card", "my card has not come yet", "when will the card be here"),
    "lost_card": ("I lost my card on the bus", "someone stole my card", "my wallet with the card is gone"),
    "top_up_failed": ("my top up did not work", "topping up failed again", "the money was not added"),
}
TEMPLATE = PromptTemplate(system="Bank intent.", labels=tuple(sorted(_TEXTS)))
_STEPS, _BATCH, _RATE = 16, 6, 3e-3


def messages(prefix: str) -> Iterator[TrafficMessage]:
    """First turns without end, each of a user of its own."""
    rows = [(text, label) for label, texts in _TEXTS.items() for text in texts]
    number = 0
    while True:
        text, label = rows[number % len(rows)]
        yield TrafficMessage(user=f"{prefix}-{number}", text=f"{text}{'!' * (number % 4)}", intent=label)
        number += 1


@dataclass
class Versions:
    """Registers `adapters()` as versions."""

    registry: MlflowRegistry
    mlflow_uri: str
    key: Path
    """File with the key that signs evaluation reports."""
    adapters: Path
    base: str = BASE
    prompt: PromptTemplate = TEMPLATE
    registered: int = 0

    def register(self, adapter: str, key: str = "") -> str:
        """A version with one of the adapters, signed by the platform's key; its number."""
        run_key = key or adapter
        pending = MlflowModels(self.mlflow_uri).begin(MODEL, key=run_key, run_name=run_key, tags={})
        target = storage.join(pending.location, ADAPTER_PATH)
        folder = self.adapters / adapter
        for path in folder.iterdir():
            storage.write_bytes(storage.join(target, path.name), path.read_bytes())
        base = resolve_base_model(self.base, load_settings().cache).ref
        made = version_document(name=MODEL, adapter_uri=target)
        secret = attestation.load_or_create_key(self.key)
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        version = made.model_copy(
            update={
                "base": base,
                "adapter": made.adapter.model_copy(update={"digest": adapter_digest(folder), "rank": rank}),
                "prompt": self.prompt,
                "generation": GenerationDefaults(max_tokens=8),
                "attestation": attestation.sign(made.report, secret, attestation.key_id_of(secret), made.created_at),
            }
        )
        storage.write_bytes(storage.join(pending.location, VERSION_PATH), version.model_dump_json().encode())
        return self.registry.register(version, run_id=pending.run_id, idempotency_key=run_key).version

    def register_again(self, adapter: str) -> str:
        """Another version with the same adapter."""
        self.registered += 1
        return self.register(adapter, key=f"{adapter}-{self.registered}")

    def nominate(self, version: str) -> None:
        self.registry.set_alias(MODEL, "challenger", version)


def adapters() -> Path:
    """A folder with `good`, which was trained, `same`, which answers as good does, and `bad`, which learned nothing.

    Trained once on a machine (a minute on 2 cores) and kept in the user's cache under what they are made of.
    """
    sources = [Path(__file__), *sorted((ROOT / "components" / "fine_tune").glob("*.py"))]
    key = digest_json([torch.__version__, *(digest_bytes(path.read_bytes()) for path in sources)])
    kept = Path.home() / ".cache" / "tidegate" / "test-adapters" / key.removeprefix("sha256:")[:16]
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            server = Server(Path(folder))
            server.start()
            try:
                made = _train(Path(folder) / "made", server.uri)
            finally:
                server.stop()
            with contextlib.suppress(OSError):  # somebody else was quicker: theirs are the same
                made.rename(kept)
    return kept


def _train(folder: Path, mlflow_uri: str) -> Path:
    data = folder / "data"
    data.mkdir(parents=True)
    rows = [
        {"id": f"row-{label}-{at}-{number}", "text": f"{text}{'!' * number}", "label": label}
        for number in range(4)
        for label, texts in _TEXTS.items()
        for at, text in enumerate(texts)
    ]
    pd.DataFrame(rows).to_parquet(data / "train.parquet")
    (data / "prompt.json").write_text(TEMPLATE.model_dump_json())
    lora = {"rank": 8, "alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    payload = {
        "data_uri": str(data),
        "out_uri": str(folder / "run"),
        "base": BASE,
        "training": {"lora": lora, "max_steps": _STEPS, "batch_size": _BATCH, "learning_rate": _RATE},
        "mlflow_uri": mlflow_uri,
        "run_name": "good",
    }
    fine_tune(payload, lambda message, numbers: None)
    good = folder / "good"
    shutil.copytree(folder / "run" / "adapter", good)
    _variant(good, folder / "same", 1.001)
    _variant(good, folder / "bad", 0.0)
    return folder


def _variant(source: Path, target: Path, scale: float) -> None:
    """The adapter with its B matrices scaled: by 0 it is the untuned base."""
    shutil.copytree(source, target)
    tensors = load_file(source / "adapter_model.safetensors")
    scaled = {name: tensor * scale if "lora_B" in name else tensor for name, tensor in tensors.items()}
    save_file(scaled, target / "adapter_model.safetensors")
