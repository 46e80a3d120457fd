"""The database: SQLite in one file (local) or PostgreSQL by URL (cluster), behind the same two context managers.

`read()` gives a connection in a transaction that is rolled back, `write()` one that commits when the block ends and
rolls back when it raises. On SQLite a write takes the write lock at its start (`BEGIN IMMEDIATE`): two writers queue
instead of failing half-way, and what a writer read stays true until it commits. On PostgreSQL isolation is READ
COMMITTED, so a store guards each decision by a conditional UPDATE, a unique index or `SELECT … FOR UPDATE`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidegate import migrations
from tidegate.certificates import unverified
from tidegate.errors import Denied, InvalidInput, ResourceExhausted, TidegateError, Unavailable

metadata = sa.MetaData()
_BUSY_SECONDS = 10.0  # SQLite waits so long for another process's lock …
_BEGIN_ATTEMPTS = 3  # … and a write is begun so often before the user hears of it.
_BEGIN = "tidegate_begin"


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time in UTC with microseconds, aware in Python on both databases."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"time {value} needs a time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Database:
    """A pool of connections to one database. Threads may share it; a forked process must open its own."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._silent: tuple[float, Unavailable] | None = None

    @classmethod
    def open(cls, url: str, *, migrate: bool = True) -> Database:
        """Connects, and brings the schema up to this version of the code.

        Args:
            url: `sqlite:///path` or `postgresql://…`.
            migrate: False leaves the schema alone (for looking at a damaged database).

        Raises:
            InvalidInput: the URL is malformed or of another database.
            Unavailable: the server does not answer, or the file cannot be opened.
            Denied: the server refuses user, password or database.
            ContractBroken: the database was written by a newer tidegate.
        """
        database = cls(_engine(_parse(url)))
        if migrate:
            try:
                with _translated(database.where):
                    migrations.upgrade(database._engine)
            except BaseException:
                database.close()
                raise
        return database

    @property
    def where(self) -> str:
        """The file, or the URL without its password: for messages."""
        url = self._engine.url
        return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)

    def revision(self) -> str | None:
        """The schema's revision; None for a database without one.

        Raises:
            ContractBroken: a newer tidegate wrote it.
        """
        with _translated(self.where):
            return migrations.current(self._engine)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading one consistent state (SQLite) or committed rows (PostgreSQL)."""
        with self._answering(), _translated(self.where), self._engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self, conn: sa.Connection | None = None) -> Iterator[sa.Connection]:
        """A connection whose changes are committed together when the block ends.

        Args:
            conn: a connection from an outer `write()`: the block joins that transaction, which commits it.
        """
        if conn is not None:
            yield conn
            return
        with self._answering(), _translated(self.where):
            outer = self._begin()
            try:
                yield outer
                outer.commit()
            finally:
                outer.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """After a server gave no answer it is not asked for a second: callers in a loop must not each wait for it."""
        if self._silent is not None and time.monotonic() < self._silent[0]:
            raise Unavailable(self._silent[1].problem, next_step=self._silent[1].next_step)
        try:
            yield
        except _SilentError as error:
            self._silent = (time.monotonic() + _SILENT_SECONDS, error)
            raise

    def close(self) -> None:
        """Closes the pooled connections."""
        self._engine.dispose()

    def _begin(self) -> sa.Connection:
        """A connection in a begun write transaction."""
        for attempt in range(1, _BEGIN_ATTEMPTS + 1):
            conn = self._engine.connect().execution_options(**{_BEGIN: "IMMEDIATE"})
            try:
                conn.begin()
                return conn
            except sa.exc.OperationalError as error:
                conn.close()
                if attempt == _BEGIN_ATTEMPTS or "locked" not in str(error.orig):
                    raise
                time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - spreads waiting writers, no secret
        raise AssertionError("unreachable")


def insert(conn: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """`INSERT` of the connection's dialect, with `on_conflict_do_update` and `on_conflict_do_nothing`.

    Its result's `rowcount` says whether a row was written; SQLAlchemy keeps that of an INSERT only when told.
    """
    statement = postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)
    return statement.execution_options(preserve_rowcount=True)


def _parse(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise InvalidInput(
            "the database URL cannot be parsed",
            next_step="Set TIDEGATE_DATABASE_URL to sqlite:///path or postgresql://…",
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database not in (None, "", ":memory:"):
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        return url
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise InvalidInput(
        f"database URL {url.render_as_string(hide_password=True)!r} is neither a SQLite file nor PostgreSQL",
        next_step="Set TIDEGATE_DATABASE_URL to sqlite:///path or postgresql://…",
    )


CONNECT_ARGS = {
    # A server that hangs must not hold a controller for longer than its lease lasts.
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,  # ms
    "keepalives_idle": 10,
    "options": "-c statement_timeout=15000 -c lock_timeout=10000",  # ms
}


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(url, pool_pre_ping=True, connect_args=CONNECT_ARGS)
        except ImportError:
            raise Unavailable(
                "PostgreSQL is configured, but its driver psycopg is not installed",
                next_step="Install tidegate with the extra 'cluster'.",
            ) from None
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions by itself: _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(_BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    # In WAL mode NORMAL cannot corrupt the file, but a power cut can take back the last commits. A decision that was
    # acted on must stay recorded, so commits reach the disk.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(conn: sa.Connection) -> None:
    conn.exec_driver_sql(f"BEGIN {conn.get_execution_options().get(_BEGIN, 'DEFERRED')}")


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Database errors a user can meet, as errors of tidegate."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        known = _known_error(str(error.orig), where)
        if known is None and isinstance(error, sa.exc.OperationalError | sa.exc.InternalError):
            known = Unavailable(f"the database at {where} fails: {error.orig}", next_step="Its own log says why.")
        if known is None:
            raise
        raise known from error
    except sa.exc.TimeoutError as error:
        raise Unavailable(f"no connection to {where} is free", next_step="Try again; others hold them all.") from error


class _SilentError(Unavailable):
    """The server is not there, or does not answer in time."""


_SILENT_SECONDS = 1.0
_REFUSED = (
    "authentication failed",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied",
    "fatal:  database ",  # … does not exist
    "fatal:  role ",
)
_NO_ANSWER = (
    "connection refused",
    "connection failed",
    "connection timeout",
    "could not connect",
    "closed the conn",
    "connection has been closed",
    "terminating connection",
    "statement timeout",
    "the database system is",  # starting up, shutting down, in recovery
)


def _known_error(message: str, where: str) -> TidegateError | None:
    text = message.lower()
    if "disk is full" in text or "no space left" in text:
        return ResourceExhausted(f"no room left on the disk of {where}", next_step="Free some room and try again.")
    if "database is locked" in text:
        return Unavailable(
            f"{where} is locked by another process for over {_BUSY_SECONDS * _BEGIN_ATTEMPTS:.0f} s",
            next_step="Run 'tidegate status' to see what runs, and try again.",
        )
    if "not a database" in text or "malformed" in text:
        return Unavailable(
            f"{where} is damaged: {message}", next_step="Restore it from a backup, or move it away to begin afresh."
        )
    if "unable to open" in text or "readonly" in text:
        return Unavailable(f"{where} cannot be opened for writing: {message}", next_step="Check its owner and mode.")
    return _server_error(message, where)


def _server_error(message: str, where: str) -> TidegateError | None:
    text = message.lower()
    # psycopg begins all of them with "connection failed".
    for line in message.splitlines():
        if error := unverified(f"the database at {where}", line.rpartition("failed: ")[2], "PGSSLROOTCERT"):
            return error
    if "does not support ssl" in text:
        return Unavailable(
            f"the database at {where} speaks no TLS",
            next_step="Switch TLS on at the server, or take sslmode out of TIDEGATE_DATABASE_URL.",
        )
    if any(part in text for part in _REFUSED):
        said = message.rpartition("FATAL:")[2].strip().splitlines()[0]
        check = "Check user, password and database in TIDEGATE_DATABASE_URL, and the right to make tables."
        if said.endswith("no encryption"):
            check = "Write ?sslmode=verify-full in TIDEGATE_DATABASE_URL where the server wants TLS. " + check
        return Denied(f"the database at {where} refuses: {said}", next_step=check)
    if any(part in text for part in _NO_ANSWER):
        return _SilentError(
            f"the database at {where} does not answer", next_step="Check that it runs and is reachable."
        )
    return None
