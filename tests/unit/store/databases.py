"""Databases for the contract tests: every test runs on SQLite, and on PostgreSQL where server and driver are there.

The PostgreSQL server is a real one, started once a session on a free loopback port, in a folder of its own, as an
unprivileged user (a server refuses to run as root). Without it the tests on PostgreSQL are skipped and say why.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidegate.clock import ManualClock
from tidegate.db import Database

_TEMPLATE = "tidegate_template"


def binaries() -> Path | None:
    """The folder of PostgreSQL's server binaries, the newest version first; Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = next((folder for folder in folders if (folder / "initdb").exists()), None)
    on_path = shutil.which("initdb")
    return found or (Path(on_path).resolve().parent if on_path else None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a running server, without a database name."""
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL server binaries on this machine")
    if find_spec("psycopg") is None:
        pytest.skip("psycopg, the PostgreSQL driver of the extra 'cluster', is not installed")
    data = Path(tempfile.mkdtemp(prefix="tidegate-pg-"))
    user = _unprivileged()
    if user is not None:
        os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=data, stdout=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"})

    control = str(folder / "pg_ctl")
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run(str(folder / "initdb"), "-D", str(data / "db"), "-U", "tidegate", "-A", "trust", "--no-sync")
        run(control, "-D", str(data / "db"), "-w", "-l", str(data / "log"), "-o", options, "start")
        url = f"postgresql://tidegate@127.0.0.1:{port}"
        try:
            _create(url, _TEMPLATE)
            Database.open(f"{url}/{_TEMPLATE}").close()
            yield url
        finally:
            run(control, "-D", str(data / "db"), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tidegate.db'}"
    server: str = request.getfixturevalue("postgres_url")
    return f"{server}/{create_database(server)}"


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database.open(database_url)
    yield database
    database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def create_database(server: str) -> str:
    """A fresh database with tidegate's tables; its name."""
    name = f"test_{os.urandom(6).hex()}"
    _create(server, name, _TEMPLATE)
    return name


def _create(server: str, name: str, template: str = "template0") -> None:
    url = sa.make_url(f"{server}/postgres").set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()


def _unprivileged() -> str | None:
    """Who runs the server: None keeps the current user, which must not be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
