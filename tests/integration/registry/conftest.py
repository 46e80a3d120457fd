"""A real MLflow server, the real base model, and two small adapters that change its answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.mlflow_process import Server
from tidegate.adapters.base_model import resolve_base_model
from tidegate.domain.manifest import DataManifest, SplitInfo, StageAccount
from tidegate.domain.training import BaseModelRef
from tidegate.ids import digest_bytes
from tidegate.prompt import PromptTemplate
from tidegate.settings import Settings, load_settings

LABELS = ("card_arrival", "lost_card", "top_up_failed")
_TEXTS = (
    "where is my new card",
    "my card has not come yet",
    "I lost my card on the bus",
    "someone stole my card",
    "my top up did not work",
    "topping up failed again",
)


@dataclass(frozen=True)
class World:
    """Settings of a home of its own, and what the steps before evaluation leave."""

    settings: Settings
    base: BaseModelRef
    data: Path
    adapters: tuple[Path, Path]
    root: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("mlflow-home"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    converted = resolve_base_model("builtin:smollm2-135m-instruct", load_settings().cache)
    base = BaseModelRef(uri=str(converted.folder), digest=converted.ref.digest, name=converted.ref.name)
    settings = load_settings(root / "home").model_copy(update={"mlflow_uri": server.uri, "cache": root / "cache"})
    adapters = (_adapter(root / "adapter-1", converted.folder, 1), _adapter(root / "adapter-2", converted.folder, 2))
    return World(settings, base, _features(root / "features"), adapters, root)


def _adapter(folder: Path, base: Path, seed: int) -> Path:
    """A LoRA adapter with random, non-zero B: it changes the logits, though not for the better."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32, local_files_only=True)
    adapted = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(str(folder))
    return folder


def _features(folder: Path) -> Path:
    """What the features step leaves: 6 test rows, a manifest that closes, a prompt template."""
    folder.mkdir(parents=True)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rows = pd.DataFrame(
        {
            "id": [f"row-{i}" for i in range(6)],
            "text": [f"{_TEXTS[i % 6]}, case {i}" for i in range(6)],
            "label": [LABELS[(i % 6) // 2] for i in range(6)],
            "group": [f"customer-{i // 2}" for i in range(6)],
            "event_time": [start + timedelta(hours=i) for i in range(6)],
            "source": "test",
            "segment": ["retail", "business"] * 3,
            "tenure_years": [float(i) for i in range(6)],
        }
    )
    table = io.BytesIO()
    rows.to_parquet(table, index=False)
    (folder / "test.parquet").write_bytes(table.getvalue())
    digest = digest_bytes(table.getvalue())
    manifest = DataManifest(
        source="test rows",
        source_digest=digest,
        contract_hash=digest,
        content_digest=digest,
        stages=(StageAccount(stage="deduplicate", rows_in=8, rows_out=6, dropped={"exact_duplicate": 2}),),
        splits=(SplitInfo(name="test", rows=6, groups=3, start=start, end=start, digest=digest),),
        labels=LABELS,
        pii_findings={"email": 3},
        synthetic_columns=("group", "segment"),
        created_at=start,
    )
    template = PromptTemplate(
        system="Bank intent. segment={segment} tenure={tenure_years}",
        features=("segment", "tenure_years"),
        feature_views=("customer:segment", "customer:tenure_years"),
        labels=LABELS,
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    (folder / "prompt.json").write_text(template.model_dump_json())
    return folder
