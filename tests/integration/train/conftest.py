"""The real model, rows that it can learn in a few steps, and a state folder of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.mlflow_process import Server
from tidegate.adapters.base_model import ResolvedBase, resolve_base_model
from tidegate.prompt import PromptTemplate
from tidegate.settings import load_settings

BASE = "builtin:smollm2-135m-instruct"
_TEXTS = {
    "card_arrival": ("where is my new card", "my card has not come yet", "when will the card be here"),
    "lost_card": ("I lost my card on the bus", "someone stole my card", "my wallet with the card is gone"),
    "top_up_failed": ("my top up did not work", "topping up failed again", "the money was not added"),
}
TEMPLATE = PromptTemplate(system="Bank intent. segment={segment}", features=("segment",), labels=tuple(sorted(_TEXTS)))


def write_data(folder: Path, **columns: Any) -> Path:
    """A folder as the features step leaves it: 36 rows of three intents; `columns` replace columns."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"row-{label}-{number}", "text": f"{text}{'!' * number}", "label": label, "segment": "retail"}
        for number in range(4)
        for label, texts in _TEXTS.items()
        for text in texts
    ]
    pd.DataFrame(rows).assign(**columns).to_parquet(folder / "train.parquet")
    (folder / "prompt.json").write_text(TEMPLATE.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def base() -> ResolvedBase:
    """The base model as safetensors; converted on the machine's first run."""
    return resolve_base_model(BASE, load_settings().cache)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()
