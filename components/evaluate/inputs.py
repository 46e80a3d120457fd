"""Finds what earlier steps left, whichever of their folders is named."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters import storage
from tidegate.adapters.base_model import ResolvedBase, resolve_base_model
from tidegate.domain.training import BaseModelRef, TrainingResult
from tidegate.errors import NotFound

_CONFIG, _RESULT = "adapter_config.json", "training_result.json"


def adapter_folder(uri: str) -> str:
    """The adapter's own folder: `uri`, or `uri`/adapter when the fine-tune step's folder is named.

    Raises:
        NotFound: there is no adapter in either.
    """
    for place in (uri, storage.join(uri, "adapter")):
        if storage.exists(storage.join(place, _CONFIG)):
            return place
    raise NotFound(f"{uri} holds no adapter ({_CONFIG})", next_step="Name the folder that the fine-tune step wrote.")


def training_result(uri: str) -> TrainingResult | None:
    """What the fine-tune step reported, beside the adapter or one folder up; None when it is not there."""
    parent = uri.rstrip("/").rpartition("/")[0]
    for place in (uri, parent):
        address = storage.join(place, _RESULT)
        if storage.exists(address):
            return TrainingResult.model_validate_json(storage.read_text(address))
    return None


def resolve_base(base: BaseModelRef | str, cache: Path) -> ResolvedBase:
    """The base model on this disk, checked against its digest where one is given.

    Raises:
        ContractBroken: the files do not hash to the digest.
    """
    if isinstance(base, str):
        return resolve_base_model(base, cache)
    found = resolve_base_model(base.uri, cache, base.digest)
    return ResolvedBase(ref=base, folder=found.folder)
