"""The receiver's bearer token: a file, made once, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tidegate.errors import InvalidInput, NotFound

_TOKEN_BYTES = 32
_OWNER_ONLY = 0o600


def load_or_create_token(path: Path) -> str:
    """The token; the first of several processes that ask makes it.

    Raises:
        InvalidInput: the file is empty.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(_TOKEN_BYTES))
        try:
            os.link(part, path)  # fails when another process was first: its token is the token
        except FileExistsError:
            pass
        finally:
            part.unlink()
    return read_token(path)


def read_token(path: Path) -> str:
    """The token of an existing file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is empty.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise NotFound(
            f"there is no receiver token at {path}", next_step="Run 'tidegate up', which makes it."
        ) from None
    if not token:
        raise InvalidInput(f"the receiver token {path} is empty", next_step="Delete the file and run 'tidegate up'.")
    return token
