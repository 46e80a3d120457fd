"""What a training continues from: an adapter, and the base that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.evaluate.inputs import adapter_folder
from tidegate.adapters import storage
from tidegate.adapters.base_model import ResolvedBase
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.domain.training import BaseModelRef
from tidegate.domain.version import ModelVersion
from tidegate.errors import InvalidInput, NotFound
from tidegate.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Start:
    """An adapter's address and its folder here; `base` is known when a registered version is continued."""

    uri: str
    folder: Path
    base: BaseModelRef | None = None


def find_start(address: str, settings: Settings) -> Start:
    """The adapter to continue from: an address, 'name/version' or 'name@alias'.

    Raises:
        NotFound: there is no such adapter, version or alias.
    """
    version = _version(address, settings)
    if version is None:
        uri = adapter_folder(address)
        return Start(uri=uri, folder=storage.local_path(uri, settings.cache))
    uri = version.adapter.uri
    return Start(uri=uri, folder=storage.local_path(uri, settings.cache), base=version.base)


def same_base(base: ResolvedBase, start: Start, address: str) -> ResolvedBase:
    """The base under the name that the continued version gives it: the registry stores bases by digest, without name.

    Raises:
        InvalidInput: the version was trained on another base.
    """
    if start.base is None:
        return base
    if start.base.digest != base.ref.digest:
        raise InvalidInput(
            f"{address} was trained on {start.base.name} ({start.base.digest}), "
            f"and this run's base model is {base.ref.name} ({base.ref.digest})",
            next_step="Give that version's base model, or start afresh: an adapter fits one base only.",
        )
    return ResolvedBase(ref=base.ref.model_copy(update={"name": start.base.name}), folder=base.folder)


def _version(address: str, settings: Settings) -> ModelVersion | None:
    registry = MlflowRegistry(settings.mlflow_uri, cache=settings.cache)
    name, at, alias = address.partition("@")
    if at and "://" not in address and "/" not in name:
        found = registry.by_alias(name, alias)
        if found is None:
            raise NotFound(f"no version of {name!r} has the alias {alias!r}", next_step="See 'tidegate models list'.")
        return found
    name, slash, version = address.partition("/")
    return registry.get(name, version) if slash and name and version.isdecimal() else None
