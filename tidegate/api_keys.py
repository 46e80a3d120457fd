"""API keys of the gateway: a YAML file of hashed keys with roles.

The file holds SHA-256 digests: keys are 32 random bytes, so a slow password hash would protect nothing more. The plain
default keys lie beside it in a file of mode 0600, for the demo's own clients.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import Field, ValidationError

from tidegate.domain.base import Contract
from tidegate.errors import InvalidInput, NotFound

Role = Literal["invoke", "feedback:label", "feedback:rating"]
ROLES: tuple[Role, ...] = get_args(Role)
_PREFIX = "tg-"
_NEVER = "0" * 64  # compared with when no key matches, so that the work is the same


class ApiKey(Contract):
    """One entry of the file."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    roles: tuple[Role, ...] = Field(min_length=1)


class KeyFile(Contract):
    """The file: `keys:` with unique names."""

    keys: tuple[ApiKey, ...]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from. `name` is written to logs and evidence, the key never."""

    name: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        return role in self.roles


class ApiKeys:
    """The keys of one file."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = keys

    @classmethod
    def load(cls, path: Path) -> ApiKeys:
        """Reads the file.

        Raises:
            NotFound: there is no file.
            InvalidInput: it is not a list of keys; the message names the field, never a value.
        """
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFound(
                f"API key file {path} does not exist", next_step="Run 'tidegate up': it makes one."
            ) from None
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"API key file {path} cannot be read: {type(error).__name__}",
                next_step="Correct its YAML and its mode.",
            ) from None
        try:
            keys = KeyFile.model_validate(raw).keys
        except ValidationError as error:
            fields = ", ".join(
                sorted({".".join(str(part) for part in item["loc"]) or "keys" for item in error.errors()})
            )
            raise InvalidInput(
                f"API key file {path} is wrong at {fields}",
                next_step=f"Each key has name, sha256 and roles of {', '.join(ROLES)}.",
            ) from None
        names = [key.name for key in keys]
        if len(set(names)) != len(names):
            raise InvalidInput(f"API key file {path} names a key twice", next_step="Give every key a name of its own.")
        return cls(keys)

    def authenticate(self, header: str | None) -> Principal | None:
        """Who an `Authorization: Bearer …` header stands for; None when it stands for nobody.

        The time taken depends on the number of keys alone: every digest is compared in full.
        """
        scheme, _, key = (header or "").partition(" ")
        digest = digest_key(key.strip())
        found: ApiKey | None = None
        for entry in self._keys:
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        hmac.compare_digest(_NEVER, digest)
        if found is None or scheme.lower() != "bearer":
            return None
        return Principal(name=found.name, roles=frozenset(found.roles))


def digest_key(key: str) -> str:
    """What the file holds of a key: its SHA-256, hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key() -> str:
    """A new key: 'tg-' and 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def ensure_default_keys(path: Path) -> dict[str, str]:
    """Makes the default keys if there is no key file: 'app' may invoke and rate, 'labeller' may label.

    Returns:
        The plain keys by name, from `<path without suffix>.plain.yaml` (mode 0600); empty when an administrator wrote
        the key file and keeps the plain keys elsewhere.
    """
    plain = path.with_suffix(".plain.yaml")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted: dict[str, tuple[Role, ...]] = {
            "app": ("invoke", "feedback:rating"),
            "labeller": ("feedback:label",),
        }
        keys = {name: new_key() for name in wanted}
        file = KeyFile(
            keys=tuple(ApiKey(name=name, sha256=digest_key(keys[name]), roles=roles) for name, roles in wanted.items())
        )
        # The plain keys first: a crash in between leaves no key file, and the next start makes both anew.
        write_secret(plain, yaml.safe_dump(keys))
        write_secret(path, yaml.safe_dump(file.model_dump(mode="json"), sort_keys=False))
        return keys
    try:
        found = yaml.safe_load(plain.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {str(name): str(key) for name, key in dict(found or {}).items()}


def write_secret(path: Path, text: str) -> None:
    """Replaces a secret file atomically, mode 0600 from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
