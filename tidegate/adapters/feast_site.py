"""Where a feature store lies: a folder of this machine, or parts that several pods share.

A site says where histories are, opens Feast's store, and lets one writer at a time in. Importing Feast takes 8 to
12 s, so it happens at first use. Feast 0.67 sends no usage data anywhere; its optional lineage clients stay off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import sqlalchemy as sa

from tidegate.adapters import storage
from tidegate.adapters.feast_config import REGISTRY_REFRESH_SECONDS, read_config
from tidegate.adapters.feast_errors import explained
from tidegate.db import Database
from tidegate.errors import Unavailable
from tidegate.ids import new_id
from tidegate.settings import Settings

PROJECT: Final = "tidegate"
CONFIG: Final = "feature_store.yaml"
_ONLINE_DATABASE: Final = "data/online.db"
_LONGEST_TURN_SECONDS: Final = 1800.0
_LOOK_SECONDS: Final = 0.5
_CONFIG_TEXT = f"""\
# Written by tidegate; `feast -c <this folder> feature-views list` works here.
project: {PROJECT}
provider: local
registry:
  path: data/registry.db
  cache_ttl_seconds: {REGISTRY_REFRESH_SECONDS}
offline_store:
  type: file
online_store:
  type: sqlite
  path: {_ONLINE_DATABASE}
entity_key_serialization_version: 3
"""

StillAlone = Callable[[], None]
"""Raises `Unavailable` when another writer may be at work, because the lock was lost."""


class FeastSite(Protocol):
    """A place where Feast's registry, histories and online store are."""

    @property
    def where(self) -> str:
        """For messages."""

    def history(self, view: str) -> str:
        """Address of a view's history, a Parquet file."""

    def source(self, view: str) -> str:
        """The same as the registry keeps it."""

    def alone(self) -> AbstractContextManager[StillAlone]:
        """Held by the one writer, over all processes that share the site."""

    def open(self, *, serving: bool = False) -> Any:
        """Feast's store.

        Raises:
            Unavailable: it is not there, or does not answer.
        """


def site_of(settings: Settings) -> FeastSite:
    """The site of the settings: the given configuration, else the folder."""
    features = settings.features
    if features.config is None:
        return LocalSite(settings.feast_repo)
    return SharedSite(
        features.config,
        features.history_uri or storage.join(settings.artifacts_uri, "features"),
        settings.database_url,
    )


class LocalSite:
    """A repository folder with a file offline store and a SQLite online store. It may be moved as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def where(self) -> str:
        return str(self.folder)

    def history(self, view: str) -> str:
        return str(self.folder / self.source(view))

    def source(self, view: str) -> str:
        return f"data/{view}.parquet"

    @contextlib.contextmanager
    def alone(self) -> Iterator[StillAlone]:
        """Also makes the folder."""
        with _locked(self.folder / "data" / ".lock"):
            config = self.folder / CONFIG
            if not config.exists():
                part = config.with_name(f".{CONFIG}.{new_id()}.part")
                part.write_text(_CONFIG_TEXT)
                part.replace(config)
            # Write-ahead logging: the gateway reads on while this process materialises. The mode stays with the file.
            with contextlib.closing(sqlite3.connect(self.folder / _ONLINE_DATABASE)) as database:
                database.execute("PRAGMA journal_mode=WAL")
            yield _always

    def open(self, *, serving: bool = False) -> Any:
        """See `FeastSite`; the settings of serving are in the folder's own configuration."""
        del serving
        if not (self.folder / CONFIG).exists():
            raise Unavailable(
                f"there is no feature store in {self.folder}",
                next_step="Run the fine_tune pipeline once: its features step makes it.",
            )
        with quiet():
            from feast import FeatureStore  # noqa: PLC0415 - slow to import

            return FeatureStore(repo_path=str(self.folder))


class SharedSite:
    """Parts that a given `feature_store.yaml` names: the registry, and an online store that gateways reach.

    Args:
        config: the file.
        history_uri: folder of the histories; every writer must reach it.
        database_url: the platform's database, by which writers agree on who writes.
    """

    def __init__(self, config: Path, history_uri: str, database_url: str) -> None:
        self._config = config
        self._histories = history_uri
        self._database_url = database_url

    @property
    def where(self) -> str:
        return f"of {self._config}"

    def history(self, view: str) -> str:
        return storage.join(self._histories, f"{view}.parquet")

    def source(self, view: str) -> str:
        address = self.history(view)
        return str(storage.local(address).absolute()) if storage.is_local(address) else address

    @contextlib.contextmanager
    def alone(self) -> Iterator[StillAlone]:
        """A lock of PostgreSQL's: it ends with its transaction, so also with the process that holds it.

        Raises:
            Unavailable: the database does not answer, or another writer takes too long.
        """
        url = sa.make_url(self._database_url)
        if url.get_backend_name() == "sqlite":  # one machine: its processes share the file's folder
            with _locked(Path(f"{url.database}.features.lock")):
                yield _always
            return
        with contextlib.closing(Database.open(self._database_url, migrate=False)) as database, database.write() as conn:
            # The connection waits while Feast works; a server that ends idle transactions would end the lock.
            conn.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            _take_turn(conn, self._histories)
            yield lambda: _check(conn)

    def open(self, *, serving: bool = False) -> Any:
        """See `FeastSite`.

        Raises:
            InvalidInput: the configuration cannot be used.
        """
        content = read_config(self._config, serving=serving)
        with explained(self.where, opening=True):
            try:
                return self._opened(content)
            except (sa.exc.ProgrammingError, sa.exc.IntegrityError):
                # Feast makes missing tables without a lock: of two processes that begin on an empty database the
                # second fails, and finds the tables when it looks again.
                time.sleep(_LOOK_SECONDS)
                return self._opened(content)

    def _opened(self, content: dict[str, Any]) -> Any:
        with quiet():
            from feast import FeatureStore, RepoConfig  # noqa: PLC0415 - slow to import

            config = RepoConfig(**content)
            config.repo_path = self._config.parent
            store = FeatureStore(config=config)
            # Feast looks at its parts at their first use; a mistake should be told now, by whom it concerns.
            _ = config.online_store, config.offline_store, store.registry
            return store


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file, also when the process dies
        yield


def _always() -> None:
    """A lock of the kernel's cannot be lost while its file is open."""


def _take_turn(conn: sa.Connection, histories: str) -> None:
    key = int.from_bytes(hashlib.sha256(f"features {histories}".encode()).digest()[:8], "big", signed=True)
    # Asked again and again: to wait inside the server would end with its lock_timeout.
    take = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
    end = time.monotonic() + _LONGEST_TURN_SECONDS
    while not conn.execute(take, {"key": key}).scalar_one():
        if time.monotonic() > end:
            raise Unavailable(
                f"another run has been writing features to {histories} for over {_LONGEST_TURN_SECONDS / 60:.0f} min",
                next_step="Look at the running pipelines; the run can be tried again.",
            )
        time.sleep(_LOOK_SECONDS)


def _check(conn: sa.Connection) -> None:
    conn.execute(sa.text("SELECT 1"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast and dask warn about their own use of pandas: noise in a step's log.

    Standard output stays as it is: replacing it would catch the lines of other threads of the process too.
    """
    os.environ.setdefault("FEAST_USAGE", "False")  # older releases asked this variable before they called home
    logger = logging.getLogger("feast")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
