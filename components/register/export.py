"""A registered version as one folder that needs nothing else: no registry, no artifact store, no network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from components.register.base_store import file_digests
from tidegate.adapters import storage
from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.base_model_files import model_files
from tidegate.adapters.mlflow_registry import ADAPTER_PATH
from tidegate.domain.version import ModelVersion
from tidegate.errors import Conflict, ContractBroken
from tidegate.ids import new_id


def export(version: ModelVersion, folder: Path, *, cache: Path) -> Path:
    """Writes base, adapter, tokenizer, prompt, code and model card of a version to a new folder.

    `mlflow.pyfunc.load_model(folder)` loads it anywhere with the packages of its requirements.txt; the base is taken
    from beside the adapter. The folder appears whole or not at all.

    Raises:
        Conflict: the folder exists.
        ContractBroken: the base model is not the one that the version was made with.
        NotFound: the version's files or its base are gone.
    """
    target = folder.expanduser().absolute()
    if target.exists():
        raise Conflict(f"{target} exists already", next_step="Name a folder that does not exist yet.")
    location = version.adapter.uri.removesuffix(f"/{ADAPTER_PATH}")
    part = target.with_name(f".{target.name}.{new_id()}.part")
    try:
        storage.copy_tree(location, str(part))
        base = resolve_base_model(version.base.uri, cache, version.base.digest).folder
        place = part / "artifacts" / "base"
        place.mkdir()
        for name, path in model_files(base).items():
            shutil.copyfile(path, place / name)
        wanted = json.loads((part / "artifacts" / "tidegate" / "base.json").read_text(encoding="utf-8"))["files"]
        if file_digests(place) != wanted:
            raise ContractBroken(
                f"the base model in {base} is not the one that {version.key} was made with",
                next_step="Restore the base model from a backup of the artifact store.",
            )
        shutil.copyfile(part / "artifacts" / "tidegate" / "model_card.md", part / "README.md")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target
