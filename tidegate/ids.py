"""Identifiers: ULIDs for events, SHA-256 digests for content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ulid import ULID

_CHUNK_BYTES = 1 << 20


def new_id() -> str:
    """A new ULID: 26 characters, sortable by creation time."""
    return str(ULID())


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text (for hashing and signing).

    Raises:
        ValueError: for NaN or infinity, which have no JSON form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_bytes(data: bytes) -> str:
    """`sha256:<64 hex>` of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_json(value: Any) -> str:
    """`sha256:<64 hex>` of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value).encode())


def digest_file(path: Path) -> str:
    """`sha256:<64 hex>` of a file's bytes, read in chunks."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def digest_tree(files: Mapping[str, Path]) -> str:
    """One digest over several files: the digest of {relative name: file digest}, order-independent."""
    return digest_json({name: digest_file(path) for name, path in files.items()})
