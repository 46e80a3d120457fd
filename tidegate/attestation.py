"""Attestation: a signed digest of an evaluation report, so that a rollout can check that the gate was really passed.

HMAC-SHA256 (RFC 2104) over the report's digest, the key's id and the time of signing. What is signed includes the
verdict and any override, so neither can be changed without the key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tidegate.domain.evaluation import Attestation, EvalReport
from tidegate.errors import ContractBroken, InvalidInput, Unavailable
from tidegate.ids import canonical_json, digest_json

KEY_BYTES = 32
_MIN_KEY_BYTES = 16


def sign(report: EvalReport, key: bytes, key_id: str, now: datetime) -> Attestation:
    """Signs a report.

    Args:
        report: the whole report with its verdict and any override.
        key: the platform's key, at least 16 bytes.
        key_id: names the key among those that `verify` is given; see `key_id_of`.
        now: the time of signing.
    """
    digest = report_digest(report)
    signature = _signature(key, digest, key_id, now)
    return Attestation(report_digest=digest, signature=signature, key_id=key_id, signed_at=now)


def verify(report: EvalReport, attestation: Attestation, keys: Mapping[str, bytes]) -> None:
    """Checks that this very report was signed by one of the keys.

    Args:
        report: the report that came with a version.
        attestation: its signature.
        keys: keys by id that are accepted; a retired key is simply left out.

    Raises:
        ContractBroken: the report is another one, the key is unknown, or the signature does not fit.
    """
    again = "Evaluate the version again with 'tidegate run fine-tune', or check which key signs (attestation_key_path)."
    digest = report_digest(report)
    if digest != attestation.report_digest:
        raise ContractBroken(
            f"the evaluation report of {report.candidate} was changed after it was signed: its digest is {digest}, "
            f"the attestation is for {attestation.report_digest}",
            next_step=again,
        )
    key = keys.get(attestation.key_id)
    if key is None:
        raise ContractBroken(
            f"the attestation of {report.candidate} is signed with key {attestation.key_id!r}, which is not accepted",
            next_step=again,
        )
    expected = _signature(key, digest, attestation.key_id, attestation.signed_at)
    if not hmac.compare_digest(expected, attestation.signature):
        raise ContractBroken(
            f"the signature on the evaluation report of {report.candidate} is not of key {attestation.key_id!r}",
            next_step=again,
        )


def report_digest(report: EvalReport) -> str:
    """`sha256:` over the report's canonical JSON."""
    return digest_json(report.model_dump(mode="json"))


def key_id_of(key: bytes) -> str:
    """A name for a key that gives nothing of it away: the head of its digest."""
    return hashlib.sha256(b"tidegate attestation key\x00" + key).hexdigest()[:16]


def platform_key(path: Path, profile: str) -> bytes:
    """The key that signs here: one machine makes it at first use, a cluster gives it as a Secret.

    Raises:
        ContractBroken, Unavailable: as `load_key`.
        InvalidInput: profile `cluster`, and it is not there. A key made by a pod would be trusted by nobody else.
    """
    return load_or_create_key(path) if profile == "local" else load_key(path)


def load_or_create_key(path: Path) -> bytes:
    """The key in a file (hex, mode 0600), made at first use. Several processes may ask at once: they get one key.

    Raises:
        ContractBroken: the file does not hold a key.
        Unavailable: the file cannot be read or made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _create(path, secrets.token_hex(KEY_BYTES))
    except OSError as error:
        raise _unusable(path, error) from None
    return load_key(path)


def load_key(path: Path) -> bytes:
    """The key in a file that somebody else provides, as a cluster's Secret does: one made here would verify nothing.

    Raises:
        ContractBroken: the file does not hold a key.
        InvalidInput: it is not there.
        Unavailable: it cannot be read.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        raise InvalidInput(
            f"the key that signs evaluation reports is not at {path}",
            next_step="Mount its Secret there, or set TIDEGATE_ATTESTATION_KEY_PATH: the key that the pipelines have.",
        ) from None
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < _MIN_KEY_BYTES:
        raise ContractBroken(
            f"key file {path} does not hold a hex key of at least {_MIN_KEY_BYTES} bytes",
            next_step="Restore the key: a new one makes the versions registered so far unverifiable. "
            "For a new installation 'openssl rand -hex 32' makes one.",
        )
    return key


def _unusable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"key file {path} cannot be used: {error.strerror}", next_step="Check its owner, mode and disk.")


def _create(path: Path, text: str) -> None:
    """Writes a new file with mode 0600; whoever comes second leaves the first one's content."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # unlike rename, it fails when the file exists
    except FileExistsError:
        pass
    finally:
        part.unlink()


def _signature(key: bytes, digest: str, key_id: str, now: datetime) -> str:
    message = canonical_json({"report": digest, "key": key_id, "signed_at": now.isoformat()})
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()
