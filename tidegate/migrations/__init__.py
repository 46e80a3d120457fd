"""Schema migrations (Alembic), inside the package so that an installed wheel brings its own.

`REVISIONS` lists the revisions in order. Opening a database that is up to date costs one query and no import of
Alembic; a test holds the list against the files in `versions/`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from tidegate.errors import ContractBroken

REVISIONS: tuple[str, ...] = ("0001", "0002", "0003", "0004")
_ADVISORY_LOCK = 0x7469_6465  # 'tide': any number that no other program takes on this database


def upgrade(engine: sa.Engine) -> None:
    """Brings the schema to the newest revision. Safe when several processes do it at once: one works, others wait.

    Raises:
        ContractBroken: the database has a revision that this code does not know.
    """
    if current(engine) == REVISIONS[-1]:
        return
    with _alone(engine) as conn:
        _run_alembic(conn)


def current(engine: sa.Engine) -> str | None:
    """The database's revision; None for an empty one.

    Raises:
        ContractBroken: it is none of `REVISIONS`.
    """
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        revision = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if revision is not None and revision not in REVISIONS:
        raise ContractBroken(
            f"the database has schema revision {revision!r}, this version of tidegate knows up to {REVISIONS[-1]!r}",
            next_step="Upgrade tidegate to the version that wrote the database, or name another one.",
        )
    return None if revision is None else str(revision)


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that no other migrating process shares: a file lock on SQLite, an advisory lock on PostgreSQL."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as conn:
            conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield conn
        return
    with Path(f"{engine.url.database}.migrate.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with engine.begin() as conn:
            yield conn


def _run_alembic(conn: sa.Connection) -> None:
    # Imported here: Alembic costs a third of a second, and only a schema that lags needs it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
