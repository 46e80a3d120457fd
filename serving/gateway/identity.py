"""Who a request belongs to: its id, its user, and the pseudonym under which the user appears in evidence and logs."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from tidegate.errors import InvalidInput
from tidegate.ids import new_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_KEY_BYTES = 32
_DIGEST_CHARS = 32
MAX_USER_CHARS = 256


def request_id(incoming: str | None) -> str:
    """The caller's `x-request-id` when it is a plain identifier of at most 128 characters, else a new ULID."""
    return incoming if incoming and _REQUEST_ID.fullmatch(incoming) else new_id()


def header_user(value: str | None) -> str | None:
    """The user named by the header `x-tidegate-user`; what is not a short printable key is as good as absent."""
    return value if value and len(value) <= MAX_USER_CHARS and value.isprintable() else None


class Pseudonyms:
    """Turns user keys into stable digests that cannot be turned back without the key file.

    HMAC-SHA256 rather than a plain hash: user keys have little entropy (an e-mail address, a customer number), so a
    plain hash could be reversed by trying them all. Gateways of one installation share the key file, or their digests
    of one user differ and the user counts twice.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, path: Path) -> Pseudonyms:
        """Reads the key, or makes one (mode 0600) when there is none.

        Raises:
            InvalidInput: the file is there but shorter than a key.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Written beside and linked into place: of two gateways that start at once, one makes the key, both read it.
            part = path.with_name(f"{path.name}.{new_id()}.part")
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            try:
                path.hardlink_to(part)
            except FileExistsError:
                pass
            finally:
                part.unlink()
        key = path.read_bytes()
        if len(key) < _KEY_BYTES:
            raise InvalidInput(
                f"the user key file {path} holds {len(key)} bytes, not {_KEY_BYTES}",
                next_step="Restore it from a copy, or delete it: users then get new pseudonyms.",
            )
        return cls(key)

    def of(self, user: str) -> str:
        return hmac.new(self._key, user.encode(), hashlib.sha256).hexdigest()[:_DIGEST_CHARS]
