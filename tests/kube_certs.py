"""Keys and certificates of one test API server: an authority, a server certificate, service-account keys."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.certificates import Authority, new_key, private, write

_HOSTS = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1")


def write_certificates(folder: Path) -> None:
    """Writes ca.crt, server.crt, server.key, accounts.key and accounts.pub, which only the owner can read."""
    folder.mkdir(mode=0o700)
    Authority(folder).server("server", _HOSTS)
    accounts = new_key()
    write(folder / "accounts.key", private(accounts))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    write(folder / "accounts.pub", accounts.public_key().public_bytes(serialization.Encoding.PEM, public))
