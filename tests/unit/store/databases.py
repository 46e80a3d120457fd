"""Databases for the contract tests: every test runs on SQLite, and on PostgreSQL where server and driver are there.

The PostgreSQL server is a real one, started once a session on a free loopback port. Without it the tests on PostgreSQL
are skipped and say why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import NoServer, Postgres, execute
from tidegate.clock import ManualClock
from tidegate.db import Database

_TEMPLATE = "tidegate_template"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a running server, without a database name."""
    try:
        server = Postgres()
    except NoServer as why:
        pytest.skip(str(why))
    try:
        server.create()
        server.start()
        try:
            _create(server.url(), _TEMPLATE)
            Database.open(server.url(_TEMPLATE)).close()
            yield server.url()
        finally:
            server.stop()
    finally:
        server.remove()


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
    execute(f"{server}/postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
