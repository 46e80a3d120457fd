"""What commands share: the database of this home, opened for looking."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from tidegate.db import Database
from tidegate.errors import NotFound
from tidegate.settings import Settings, load_settings


def open_database(settings: Settings | None = None, *, migrate: bool = True) -> Database:
    """The platform's database; looking never creates one.

    Raises:
        NotFound: there is no database file yet.
    """
    url = (settings or load_settings()).database_url
    path = sa.make_url(url).database if url.startswith("sqlite") else None
    if path is not None and not Path(path).exists():
        raise NotFound(
            f"there is no database at {path}", next_step="Run 'tidegate up', or name its folder with --home."
        )
    return Database.open(url, migrate=migrate)
