"""The feature store: a Feast repository with a file offline store and a SQLite online store.

`FeastRepository` is the writing side, for pipeline steps: history in, point-in-time join, materialisation.
`FeastOnline` is the reading side, for the gateway. Importing Feast takes 8 to 12 s, so it happens at first use.
Feast 0.67 sends no usage data anywhere; its optional lineage clients stay off.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.errors import InvalidInput, Unavailable
from tidegate.ids import new_id
from tidegate.prompt import FeatureValue

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "tidegate"
CONFIG = "feature_store.yaml"
TIME_COLUMN = "event_timestamp"
_ONLINE_DATABASE = "data/online.db"
_REGISTRY_REFRESH_SECONDS = 60
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_CONFIG_TEXT = f"""\
# Written by tidegate; `feast -c <this folder> feature-views list` works here.
project: {PROJECT}
provider: local
registry:
  path: data/registry.db
  cache_ttl_seconds: {_REGISTRY_REFRESH_SECONDS}
offline_store:
  type: file
online_store:
  type: sqlite
  path: {_ONLINE_DATABASE}
entity_key_serialization_version: 3
"""


@dataclass(frozen=True, kw_only=True)
class FeatureViewSpec:
    """A feature view: features of one entity over time. `fields` maps a feature to its type."""

    name: str
    entity: str
    join_key: str
    fields: dict[str, type[str] | type[int] | type[float]]
    description: str

    @property
    def references(self) -> tuple[str, ...]:
        """Feast's spelling of the features: `view:feature`."""
        return tuple(f"{self.name}:{field}" for field in self.fields)


class FeastRepository:
    """The writing side of a repository folder. One writer at a time over all processes; readers are not held up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def update(self, view: FeatureViewSpec, history: pd.DataFrame, until: datetime) -> int:
        """Adds history to a view, registers it, and materialises the values valid at `until` to the online store.

        Args:
            view: the view; registering it again changes nothing.
            history: the join key, `event_timestamp` (UTC) and every field. A row with a key and time that exist
                replaces the old row; all other old rows stay.
            until: history after this moment stays out of the online store.

        Returns:
            The number of history rows the view has now.
        """
        with self._alone():
            rows = self._merge(view, history)
            store = self._store()
            store.apply(_feast_objects(view))
            with _quiet():
                store.materialize(_BEGINNING, until + timedelta(microseconds=1), feature_views=[view.name])
            return rows

    def history_at(self, entities: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
        """The point-in-time join: for each row the values valid at its own `event_timestamp`.

        Args:
            entities: the join key, `event_timestamp` (UTC), and any other columns, which come back unchanged.
            references: `view:feature`.

        Returns:
            The rows, in any order, with a column per feature; None where no value was valid yet.
        """
        with _quiet():
            joined: pd.DataFrame = (
                self._store().get_historical_features(entity_df=entities, features=list(references)).to_df()
            )
        return joined

    def _merge(self, view: FeatureViewSpec, history: pd.DataFrame) -> int:
        import pandas as pd  # noqa: PLC0415 - slow to import

        path = self.folder / _history_file(view)
        columns = [view.join_key, TIME_COLUMN, *view.fields]
        missing = [name for name in columns if name not in history.columns]
        if missing:
            raise InvalidInput(
                f"the history of feature view {view.name!r} lacks {missing}", next_step="Give every column."
            )
        merged = history[columns]
        if path.exists():
            merged = pd.concat([pd.read_parquet(path), merged])
        merged = merged.drop_duplicates([view.join_key, TIME_COLUMN], keep="last").sort_values(
            [view.join_key, TIME_COLUMN], ignore_index=True
        )
        merged = merged.astype({name: "Int64" for name, kind in view.fields.items() if kind is int})
        part = path.with_name(f".{path.name}.{new_id()}.part")
        merged.to_parquet(part, index=False)
        part.replace(path)
        return len(merged)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        with (self.folder / "data" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file, also when the process dies
            config = self.folder / CONFIG
            if not config.exists():
                part = config.with_name(f".{CONFIG}.{new_id()}.part")
                part.write_text(_CONFIG_TEXT)
                part.replace(config)
            # Write-ahead logging: the gateway reads on while this process materialises. The mode stays with the file.
            with contextlib.closing(sqlite3.connect(self.folder / _ONLINE_DATABASE)) as database:
                database.execute("PRAGMA journal_mode=WAL")
            yield

    def _store(self) -> Any:
        return _open(self.folder)


class FeastOnline:
    """Online lookup in a repository (the port `OnlineFeatures`); safe to call from several threads.

    The store opens at the first call, or by `warm`. Raises `Unavailable` as long as the repository, or a view that is
    asked for, does not exist: that is not the same as a customer without values, whose features are all None.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: Any = None
        self._join_keys: dict[str, str] = {}
        # SQLite's connection is shared by threads, and so is Feast's cache.
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Imports Feast and opens the repository, so that the first request does not wait for it."""
        with self._lock:
            self._open()

    def get(self, entity: str, feature_views: Sequence[str]) -> dict[str, FeatureValue]:
        """The latest values of one entity, by feature name.

        Args:
            entity: value of the join key: a customer id.
            feature_views: references `view:feature`.

        Raises:
            Unavailable: see the class.
        """
        if not feature_views:
            return {}
        with self._lock:
            store = self._open()
            key = self._join_key(store, feature_views[0].partition(":")[0])
            try:
                values = store.get_online_features(features=list(feature_views), entity_rows=[{key: entity}]).to_dict()
            except (sqlite3.Error, OSError) as error:
                raise Unavailable(
                    f"the feature store {self._folder} cannot be read: {error}", next_step="Try again."
                ) from error
        names = [reference.partition(":")[2] for reference in feature_views]
        return {name: values[name][0] for name in names}

    def _open(self) -> Any:
        if self._store is None:
            if not (self._folder / CONFIG).exists():
                raise Unavailable(
                    f"there is no feature store in {self._folder}",
                    next_step="Run the fine_tune pipeline once: its features step makes it.",
                )
            self._store = _open(self._folder)
        return self._store

    def _join_key(self, store: Any, view: str) -> str:
        from feast.errors import FeatureViewNotFoundException  # noqa: PLC0415 - slow to import

        if view not in self._join_keys:
            try:
                found = store.get_feature_view(view)
            except FeatureViewNotFoundException:
                try:
                    store.refresh_registry()  # it may be newer than the cached registry
                    found = store.get_feature_view(view)
                except FeatureViewNotFoundException as error:
                    raise Unavailable(
                        f"the feature store {self._folder} has no view {view!r}",
                        next_step="Run the fine_tune pipeline once: its features step registers it.",
                    ) from error
            self._join_keys[view] = str(found.entity_columns[0].name)
        return self._join_keys[view]


def _open(folder: Path) -> Any:
    os.environ.setdefault("FEAST_USAGE", "False")  # older releases asked this variable before they called home
    with _quiet():
        from feast import FeatureStore  # noqa: PLC0415 - slow to import

        return FeatureStore(repo_path=str(folder))


def _history_file(view: FeatureViewSpec) -> str:
    return f"data/{view.name}.parquet"


def _feast_objects(view: FeatureViewSpec) -> list[Any]:
    from feast import Entity, FeatureView, Field, FileSource, ValueType  # noqa: PLC0415 - slow to import
    from feast.types import Float64, Int64, String  # noqa: PLC0415

    types = {str: String, int: Int64, float: Float64}
    entity = Entity(name=view.entity, join_keys=[view.join_key], value_type=ValueType.STRING)
    return [
        entity,
        FeatureView(
            name=view.name,
            entities=[entity],
            ttl=timedelta(0),  # a value holds until the next one
            schema=[Field(name=view.join_key, dtype=String)]
            + [Field(name=name, dtype=types[kind]) for name, kind in view.fields.items()],
            source=FileSource(
                name=f"{view.name}_history",
                path=_history_file(view),
                timestamp_field=TIME_COLUMN,
            ),
            online=True,
            description=view.description,
        ),
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast and dask warn about their own use of pandas: noise in a step's log.

    Standard output stays as it is: replacing it would catch the lines of other threads of the process too.
    """
    logger = logging.getLogger("feast")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
