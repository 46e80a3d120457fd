"""Keys and certificates of one test API server: an authority, a server certificate, service-account keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOSTS = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_VALID = timedelta(days=30)


def write_certificates(folder: Path) -> None:
    """Writes ca.crt, server.crt, server.key, accounts.key and accounts.pub, which only the owner can read."""
    folder.mkdir(mode=0o700)
    authority, accounts = _key(), _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tidegate-test-ca")])
    root = (
        _certificate(name, name, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority, hashes.SHA256())
    )
    server = _key()
    names = [*map(x509.DNSName, _HOSTS), x509.IPAddress(ip_address("127.0.0.1"))]
    leaf = (
        _certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]), name, server.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    _write(folder / "ca.crt", root.public_bytes(serialization.Encoding.PEM))
    _write(folder / "server.crt", leaf.public_bytes(serialization.Encoding.PEM))
    _write(folder / "server.key", _private(server))
    _write(folder / "accounts.key", _private(accounts))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    _write(folder / "accounts.pub", accounts.public_key().public_bytes(serialization.Encoding.PEM, public))


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
