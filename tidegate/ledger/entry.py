"""What the ledger holds, and how a row is hashed."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from tidegate.ids import canonical_json, digest_bytes

Kind = Literal[
    "resource.applied",
    "resource.deleted",
    "version.registered",
    "gate.overridden",
    "alias.set",
    "rollout.started",
    "rollout.transition",
    "rollout.decision",
    "routing.published",
    "routing.removed",
    "routing.acknowledged",
    "pair.scored",
    "alert.received",
    "retrain.requested",
    "retrain.status",
    "run.started",
    "run.finished",
]
KINDS: frozenset[str] = frozenset(get_args(Kind))

GENESIS = digest_bytes(b"tidegate ledger, first row")
"""What the first row names as its predecessor's hash."""
_ID_BYTES = 16
"""26 characters of base32, as long as a ULID."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A fact on its way into the ledger.

    With an `id` (see `fact_id`) it is appended once, however often it is offered; without one it gets a new ULID.
    """

    kind: Kind
    subject: str
    payload: dict[str, Any]
    actor: str
    rollout: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A fact in the ledger. `payload_text` is the canonical JSON that was hashed; `payload` reads it.

    `subject` is what the fact is about: a deployment, `kind/name` of a resource, `name/version`, a run, a retraining
    key. `actor` is who or what did it: 'controller', 'cli:anna', 'api-key:default'.
    """

    seq: int
    id: str
    time: datetime
    kind: str
    subject: str
    rollout: str | None
    actor: str
    payload_text: str
    prev_hash: str
    hash: str

    @property
    def payload(self) -> dict[str, Any]:
        """The fact's details."""
        value: dict[str, Any] = json.loads(self.payload_text)
        return value

    def as_row(self) -> dict[str, Any]:
        """For tables and JSON output."""
        return {
            "seq": self.seq,
            "id": self.id,
            "time": self.time.isoformat(),
            "kind": self.kind,
            "subject": self.subject,
            "rollout": self.rollout,
            "actor": self.actor,
            "payload": self.payload,
            "hash": self.hash,
        }


def fact_id(kind: Kind, subject: str, identity: Any) -> str:
    """The id of a fact that is offered until it has arrived: the same `identity` (JSON-ready) gives the same id."""
    digest = hashlib.sha256(canonical_json([kind, subject, identity]).encode()).digest()
    return base64.b32encode(digest[:_ID_BYTES]).decode().rstrip("=")


def row_hash(prev_hash: str, entry: LedgerEntry) -> str:
    """`sha256:` over the predecessor's hash and the row's canonical JSON (all columns but the two hashes).

    Times are hashed in UTC with microseconds, so that SQLite and PostgreSQL give the same text.
    """
    row = {
        "seq": entry.seq,
        "id": entry.id,
        "time": entry.time.astimezone(UTC).isoformat(timespec="microseconds"),
        "kind": entry.kind,
        "subject": entry.subject,
        "rollout": entry.rollout,
        "actor": entry.actor,
        "payload": entry.payload_text,
    }
    return digest_bytes((prev_hash + canonical_json(row)).encode())
