"""Base models lie once in the artifact store, by digest; versions refer to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tidegate.adapters import storage
from tidegate.adapters.base_model_files import base_digest, model_files
from tidegate.errors import ContractBroken
from tidegate.ids import digest_file


def base_location(store: str, digest: str) -> str:
    """Where a base model with this digest lies, or will."""
    return storage.join(store, "base-models", digest.removeprefix("sha256:"))


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a base model, by name."""
    return {name: digest_file(path) for name, path in model_files(folder).items()}


def store_base(folder: Path, digest: str, store: str) -> str:
    """Puts a base model into the store unless it is there, and returns its address.

    It appears complete or not at all. On the same disk the files are hard links of the cached ones, which are never
    written in place, and so take no room.

    Raises:
        ContractBroken: what lies in `folder`, or in the store, does not have the digest.
    """
    target = base_location(store, digest)
    if "://" in target and not target.startswith("file://"):
        return _store_remote(folder, digest, target)
    place = Path(target.removeprefix("file://"))
    if not place.is_dir():
        _check(folder, digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=place.parent))
        try:
            for name, path in model_files(folder).items():
                _link_or_copy(path.resolve(), part / name)
            part.chmod(0o755)
            try:
                part.rename(place)
            except OSError:
                if not place.is_dir():  # else another registration was quicker
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    _check(place, digest)
    return str(place)


def _store_remote(folder: Path, digest: str, target: str) -> str:
    """Object stores rename nothing: a marker that is written last says that all files are there."""
    marker = storage.join(target, "complete")
    if not storage.exists(marker):
        _check(folder, digest)
        for name, path in model_files(folder).items():
            storage.write_bytes(storage.join(target, name), path.read_bytes())
        storage.write_bytes(marker, digest.encode())
    return target


def _check(folder: Path, digest: str) -> None:
    found = base_digest(folder)
    if found != digest:
        raise ContractBroken(
            f"base model {folder} has digest {found}, not {digest}",
            next_step=f"Remove {folder}, or name the base model that the adapter was trained on.",
        )


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
