"""What a folder with a base model must look like, and its digest, checked cheaply on every use."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.errors import InvalidInput, NotFound, ResourceExhausted, Unavailable, is_no_room
from tidegate.ids import digest_bytes, digest_file, digest_json, digest_tree

# What a model folder may contribute: weights as safetensors, configuration, tokenizer, chat template. Everything else
# (pickles, Python files, readmes) is neither copied, hashed nor loaded.
_FILES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "model.safetensors.index.json",
    }
)
_WEIGHTS = ".safetensors"
_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
_TOKENIZER = frozenset({"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                        "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja"})  # fmt: skip


def is_model_file(name: str) -> bool:
    """Whether a file of this name belongs to a base model."""
    return name in _FILES or name.endswith(_WEIGHTS)


def model_files(folder: Path) -> dict[str, Path]:
    """The files that make up the model, by name, sorted."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and is_model_file(path.name)}


def check_model_folder(folder: Path, uri: str) -> None:
    """Refuses a folder that cannot be served safely.

    Raises:
        NotFound: the folder does not exist.
        InvalidInput: no config.json, no safetensors, code of its own, not a causal language model, no tokenizer or
            no chat template.
    """
    if not folder.is_dir():
        raise NotFound(f"base model {uri!r}: {folder} is not a folder", next_step="Name a folder with safetensors.")
    names = {path.name for path in folder.iterdir()}
    if not any(name.endswith(_WEIGHTS) for name in names):
        pickles = sorted(name for name in names if Path(name).suffix in _PICKLES)
        if pickles:
            raise InvalidInput(
                f"base model {uri!r} has only pickled weights ({', '.join(pickles[:3])}), which run code when loaded",
                next_step="Convert it to safetensors, or name a copy that has them.",
            )
        raise InvalidInput(
            f"base model {uri!r}: no *.safetensors in {folder}", next_step="Name the folder that holds the weights."
        )
    _check_config(_json(folder / "config.json", uri), uri)
    if not names & {"tokenizer.json", "tokenizer.model"}:
        raise InvalidInput(
            f"base model {uri!r} has no tokenizer.json", next_step="Put the tokenizer beside the weights."
        )
    if "chat_template.jinja" not in names and not _json(folder / "tokenizer_config.json", uri).get("chat_template"):
        raise InvalidInput(
            f"base model {uri!r} has no chat template", next_step="Name an instruction-tuned model, or add one."
        )


def _check_config(config: dict[str, Any], uri: str) -> None:
    if "auto_map" in config:
        raise InvalidInput(
            f"base model {uri!r} needs code of its own (auto_map in config.json), and remote code is never trusted",
            next_step="Name a model whose architecture transformers has built in.",
        )
    architectures = config.get("architectures") or []
    if not any(str(name).endswith("ForCausalLM") for name in architectures):
        raise InvalidInput(
            f"base model {uri!r} is {architectures or 'of unknown architecture'}, not a causal language model",
            next_step="Name a model whose config.json has an architecture ending in ForCausalLM.",
        )


def _json(path: Path, uri: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(
            f"base model {uri!r} has no {path.name}", next_step="Name a complete model folder."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidInput(f"base model {uri!r}: {path.name} is not JSON ({error})", next_step="Mend it.") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"base model {uri!r}: {path.name} is not a JSON object", next_step="Mend it.")
    return value


def base_digest(folder: Path, memos: Path | None = None) -> str:
    """The digest over all model files.

    With a folder for `memos`, a file whose size, inode and times are as last seen is not read again.
    """
    return digest_json(_file_digests(folder, memos))


def tokenizer_digest(folder: Path) -> str:
    """The digest over the tokenizer's files and chat template alone."""
    return digest_tree({name: path for name, path in model_files(folder).items() if name in _TOKENIZER})


def _file_digests(folder: Path, memos: Path | None) -> dict[str, str]:
    if memos is None:
        return {name: digest_file(path) for name, path in model_files(folder).items()}
    memo = memos / "digests" / f"{digest_bytes(str(folder.resolve()).encode())[7:23]}.json"
    known = _read_memo(memo)
    fresh = {name: _remembered(path, known.get(name)) for name, path in model_files(folder).items()}
    if fresh != known:
        with contextlib.suppress(OSError):  # a read-only cache still gives right digests, only slower
            memo.parent.mkdir(parents=True, exist_ok=True)
            partial = memo.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps(fresh), encoding="utf-8")
            partial.replace(memo)
    return {name: entry["digest"] for name, entry in fresh.items()}


def _read_memo(memo: Path) -> dict[str, Any]:
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remembered(path: Path, seen: Any) -> dict[str, Any]:
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    if isinstance(seen, dict) and seen.get("stamp") == stamp and isinstance(seen.get("digest"), str):
        return seen
    return {"stamp": stamp, "digest": digest_file(path)}


@contextmanager
def exclusive(lock: Path, timeout_seconds: float = 600.0) -> Iterator[None]:
    """One process at a time. The lock dies with its holder, so a killed conversion blocks nobody.

    Raises:
        Unavailable: another process held the lock for longer than `timeout_seconds`.
    """
    with disk_room(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    with file:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"another process has been preparing {lock.stem} for {timeout_seconds:.0f} s",
                        next_step=f"Wait for it, or end it (see 'fuser {lock}') and try again.",
                    ) from None
                time.sleep(0.1)
        yield


@contextmanager
def disk_room(folder: Path, need_bytes: int = 0) -> Iterator[None]:
    """Turns a full disk into an error that says how much is needed and where.

    Raises:
        ResourceExhausted: less than `need_bytes` are free before, or the disk fills up within the block.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    step = "Free some space, or name another cache with TIDEGATE_CACHE."
    if free < need_bytes:
        raise ResourceExhausted(
            f"{folder} needs {need_bytes / 1e6:.0f} MB of disk and has {free / 1e6:.0f} MB", next_step=step
        )
    try:
        yield
    except OSError as error:
        if is_no_room(error):
            raise ResourceExhausted(f"the disk of {folder} is full", next_step=step) from error
        raise
