"""PostgreSQL, S3 and MLflow by TLS with an authority of one's own: what is trusted, and what is said otherwise."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs
import sqlalchemy as sa

from tests.certificates import Authority, ServerFiles
from tests.minio import CannotBuild, Minio, minio
from tests.ports import free_port
from tests.postgres import NoServer, Postgres
from tests.unit.store.databases import postgres_url
from tidegate.adapters import storage
from tidegate.adapters.mlflow_rest import MlflowRest
from tidegate.db import Database
from tidegate.errors import Denied, Unavailable

__all__ = ["postgres_url"]
pytestmark = pytest.mark.integration
HERE = "127.0.0.1"
PASSWORD = "a-password"
Trust = Callable[[Path | None], None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> ServerFiles:
    return authority.server("server", [HERE])


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The certificate of an authority that signed nothing here."""
    return Authority(tmp_path / "other", "another-ca").file


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trust]:
    """Says what this process trusts, as the chart does; None: as without it."""

    def say(file: Path | None) -> None:
        for name in ("AWS_CA_BUNDLE", "PGSSLROOTCERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            if file is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, str(file))
        s3fs.S3FileSystem.clear_instance_cache()

    yield say
    s3fs.S3FileSystem.clear_instance_cache()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(files: ServerFiles) -> Iterator[Postgres]:
    try:
        server = Postgres(HERE, PASSWORD, tls=files)
    except NoServer as why:
        pytest.skip(str(why))
    try:
        server.create()
        server.start()
        server.execute("CREATE DATABASE ledger")
        yield server
        server.stop()
    finally:
        server.remove()


def _refusal(url: str) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        Database.open(url)
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_a_database_is_verified_by_what_the_environment_trusts(
    postgres: Postgres, authority: Authority, trust: Trust
) -> None:
    trust(authority.file)
    database = Database.open(f"{postgres.url('ledger')}?sslmode=verify-full")
    with database.read() as conn:
        assert conn.execute(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one() is True
    database.close()


@pytest.mark.parametrize("query", ["?sslmode=verify-full", ""])
def test_a_database_of_another_authority_is_named_with_what_to_do(
    postgres: Postgres, other: Path, trust: Trust, query: str
) -> None:
    """Without sslmode PostgreSQL's client tries again without TLS, which this server refuses."""
    trust(other)
    error = _refusal(postgres.url("ledger") + query)
    assert f"{HERE}:{sa.make_url(postgres.url()).port}" in error.problem
    assert error.problem.endswith("cannot be verified: SSL error: certificate verify failed")
    assert "PGSSLROOTCERT" in error.next_step
    assert "certificateAuthority" in error.next_step


def test_a_file_of_certificates_that_is_not_there_is_no_server_that_is_away(postgres: Postgres, trust: Trust) -> None:
    trust(Path("/nowhere/ca.crt"))
    error = _refusal(f"{postgres.url('ledger')}?sslmode=verify-full")
    assert 'root certificate file "/nowhere/ca.crt" does not exist' in error.problem


def test_a_certificate_for_another_name_says_so(postgres: Postgres, authority: Authority, trust: Trust) -> None:
    trust(authority.file)
    error = _refusal(f"{postgres.url('ledger').replace(HERE, 'localhost')}?sslmode=verify-full")
    assert 'does not match host name "localhost"' in error.problem
    assert "a name that the certificate has" in error.next_step


def test_a_database_that_wants_tls_says_so_to_who_speaks_none(postgres: Postgres) -> None:
    error = _refusal(f"{postgres.url('ledger')}?sslmode=disable")
    assert isinstance(error, Denied)
    assert "?sslmode=verify-full" in error.next_step


def test_a_database_without_tls_is_not_taken_for_one_that_is_away(postgres_url: str) -> None:
    error = _refusal(f"{postgres_url}/postgres?sslmode=require")
    assert error.problem.endswith("speaks no TLS")


# --- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(files: ServerFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    try:
        minio()
    except CannotBuild as why:
        pytest.skip(f"no MinIO: {why}")
    started = Minio(tmp_path_factory.mktemp("minio-tls"), HERE, free_port(), files)
    try:
        started.start()
        started.client().create_bucket(Bucket="models")
        yield started
    finally:
        started.stop()


@pytest.fixture
def known(store: Minio, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows address and keys."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


def test_storage_is_verified_by_what_the_environment_trusts(
    store: Minio, known: None, authority: Authority, trust: Trust
) -> None:
    trust(authority.file)
    storage.write_text("s3://models/a.txt", "a")
    assert storage.read_text("s3://models/a.txt") == "a"


@pytest.mark.parametrize("trusted", ["the public ones", "another"])
def test_storage_of_another_authority_is_named_with_what_to_do(
    store: Minio, known: None, other: Path, trust: Trust, trusted: str
) -> None:
    trust(other if trusted == "another" else None)
    with pytest.raises(Unavailable, match=r"certificate verify failed") as caught:
        storage.read_text("s3://models/a.txt")
    assert store.url in caught.value.problem
    assert "AWS_CA_BUNDLE" in caught.value.next_step
    assert "throw-away" not in str(caught.value)


def test_a_file_of_certificates_that_is_not_there_is_no_missing_object(store: Minio, known: None, trust: Trust) -> None:
    trust(Path("/nowhere/ca.crt"))
    with pytest.raises(Unavailable, match=r"/nowhere/ca\.crt does not exist") as caught:
        storage.read_text("s3://models/a.txt")
    assert "AWS_CA_BUNDLE" in caught.value.next_step


# --- MLflow -----------------------------------------------------------------------------------------------------------


class _Registry(http.server.BaseHTTPRequestHandler):
    """Answers every read with nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def mlflow(files: ServerFiles) -> Iterator[str]:
    """Where something speaks HTTPS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with http.server.ThreadingHTTPServer((HERE, 0), _Registry) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that refuses is no error here
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://{HERE}:{server.server_port}"
        server.shutdown()


def test_mlflow_is_verified_by_what_the_environment_trusts(mlflow: str, authority: Authority, trust: Trust) -> None:
    trust(authority.file)
    assert MlflowRest(mlflow).get("/registered-models/search") == {}


@pytest.mark.parametrize("trusted", ["the public ones", "another"])
def test_an_mlflow_of_another_authority_is_said_at_once(mlflow: str, other: Path, trust: Trust, trusted: str) -> None:
    trust(other if trusted == "another" else None)
    waits: list[float] = []
    with pytest.raises(Unavailable, match="certificate verify failed") as caught:
        MlflowRest(mlflow, sleep=waits.append).get("/registered-models/search")
    assert waits == []
    assert mlflow in caught.value.problem
    assert "SSL_CERT_FILE" in caught.value.next_step
