"""Commands look at a server's database, and never bring it to their own version."""

from __future__ import annotations

import pytest

from tests.postgres import execute
from tests.unit.store.databases import create_database, postgres_url
from tidegate.cli.context import open_database
from tidegate.db import Database
from tidegate.errors import ContractBroken, NotFound
from tidegate.settings import Settings, load_settings

__all__ = ["postgres_url"]
pytestmark = pytest.mark.integration


def _settings(url: str) -> Settings:
    return load_settings().model_copy(update={"database_url": url})


def test_the_tables_of_this_version_are_looked_at(postgres_url: str) -> None:
    url = f"{postgres_url}/{create_database(postgres_url)}"
    db = open_database(_settings(url))
    assert db.revision()
    db.close()


def test_a_server_without_tables_is_said_and_left_so(postgres_url: str) -> None:
    url = f"{postgres_url}/postgres"
    with pytest.raises(NotFound, match="holds no tables of tidegate"):
        open_database(_settings(url))


def test_another_version_is_said_and_left_alone(postgres_url: str) -> None:
    url = f"{postgres_url}/{create_database(postgres_url)}"
    execute(url, "UPDATE alembic_version SET version_num = '0003'")
    with pytest.raises(ContractBroken, match="has schema revision 0003, and this command knows"):
        open_database(_settings(url))
    db = Database.open(url, migrate=False)
    assert db.revision() == "0003"
    db.close()
