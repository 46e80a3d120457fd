"""What commands share: the database of this home, opened for looking."""

from __future__ import annotations

import getpass
from pathlib import Path

import sqlalchemy as sa

from tidegate.db import Database
from tidegate.errors import ContractBroken, NotFound
from tidegate.migrations import REVISIONS
from tidegate.settings import Settings, load_settings


def open_database(settings: Settings | None = None) -> Database:
    """The platform's database; looking never creates one.

    A server's schema is left alone: the releases that run there would refuse one that is newer than they are.

    Raises:
        NotFound: there is no database file yet, or tidegate has no tables in the server's.
        ContractBroken: the server's schema is of another version than this command.
    """
    url = (settings or load_settings()).database_url
    if not url.startswith("sqlite"):
        return _of_server(url)
    path = sa.make_url(url).database
    if path is not None and not Path(path).exists():
        raise NotFound(
            f"there is no database at {path}", next_step="Run 'tidegate up', or name its folder with --home."
        )
    return Database.open(url)


def _of_server(url: str) -> Database:
    db = Database.open(url, migrate=False)
    try:
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: Database) -> None:
    revision = db.revision()
    if revision is None:
        raise NotFound(
            f"the database {db.where} holds no tables of tidegate",
            next_step="Check TIDEGATE_DATABASE_URL; an installed release makes the tables when it starts.",
        )
    if revision != REVISIONS[-1]:
        raise ContractBroken(
            f"the database {db.where} has schema revision {revision}, and this command knows {REVISIONS[-1]}",
            next_step="Use the command of the release that is installed (git checkout of its tag), or upgrade it.",
        )


def actor() -> str:
    """Who acts, for the ledger: the user of this machine."""
    return f"cli:{getpass.getuser()}"
