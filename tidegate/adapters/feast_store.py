"""The feature store, by Feast: a writing side and a reading side, wherever the store lies (`feast_site.py`).

`FeastRepository` is the writing side, for pipeline steps: history in, point-in-time join, materialisation.
`FeastOnline` is the reading side, for the gateway.
"""

from __future__ import annotations

import contextlib
import io
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tidegate.adapters import storage
from tidegate.adapters.feast_errors import explained
from tidegate.adapters.feast_site import FeastSite, StillAlone, quiet
from tidegate.clock import Clock, SystemClock
from tidegate.errors import InvalidInput, NotFound, Unavailable
from tidegate.prompt import FeatureValue

if TYPE_CHECKING:
    import pandas as pd

TIME_COLUMN: Final = "event_timestamp"
_LOOK_AGAIN_SECONDS: Final = 5.0
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


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
    """The writing side. One writer at a time over all processes and pods; readers are not held up."""

    def __init__(self, site: FeastSite) -> None:
        self._site = site

    def update(self, view: FeatureViewSpec, history: pd.DataFrame, until: datetime) -> int:
        """Adds history to a view, registers it, and materialises the values valid at `until` to the online store.

        Args:
            view: the view; registering it again changes nothing.
            history: the join key, `event_timestamp` (UTC) and every field. A row with a key and time that exist
                replaces the old row; all other old rows stay.
            until: history after this moment stays out of the online store.

        Returns:
            The number of history rows the view has now.

        Raises:
            InvalidInput: the history lacks a column, or the configuration cannot be used.
            Unavailable: registry, storage or online store does not answer; trying again makes it whole.
        """
        with self._site.alone() as still_alone, explained(self._site.where):
            rows = self._merge(view, history, still_alone)
            store = self._site.open()
            with quiet():
                store.apply(_feast_objects(view, self._site.source(view.name)))
                store.materialize(_BEGINNING, until + timedelta(microseconds=1), feature_views=[view.name])
            still_alone()
            return rows

    def history_at(self, entities: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
        """The point-in-time join: for each row the values valid at its own `event_timestamp`.

        Args:
            entities: the join key, `event_timestamp` (UTC), and any other columns, which come back unchanged.
            references: `view:feature`.

        Returns:
            The rows, in any order, with a column per feature; None where no value was valid yet.

        Raises:
            Unavailable: registry or storage does not answer.
        """
        store = self._site.open()
        with explained(self._site.where), quiet():
            joined: pd.DataFrame = store.get_historical_features(entity_df=entities, features=list(references)).to_df()
        return joined

    def _merge(self, view: FeatureViewSpec, history: pd.DataFrame, still_alone: StillAlone) -> int:
        import pandas as pd  # noqa: PLC0415 - slow to import

        address = self._site.history(view.name)
        columns = [view.join_key, TIME_COLUMN, *view.fields]
        missing = [name for name in columns if name not in history.columns]
        if missing:
            raise InvalidInput(
                f"the history of feature view {view.name!r} lacks {missing}", next_step="Give every column."
            )
        merged = history[columns]
        with contextlib.suppress(NotFound):  # the first history of this view
            merged = pd.concat([pd.read_parquet(io.BytesIO(storage.read_bytes(address))), merged])
        merged = merged.drop_duplicates([view.join_key, TIME_COLUMN], keep="last").sort_values(
            [view.join_key, TIME_COLUMN], ignore_index=True
        )
        merged = merged.astype({name: "Int64" for name, kind in view.fields.items() if kind is int})
        content = merged.to_parquet(index=False)
        still_alone()  # what was read above must still be the newest
        storage.write_bytes(address, content)
        return len(merged)


class FeastOnline:
    """Online lookup (the port `OnlineFeatures`); safe to call from several threads.

    The store opens at the first call, or by `warm`. Raises `Unavailable` as long as the store, or a view that is
    asked for, does not exist or does not answer: that is not the same as a customer without values, whose features
    are all None.
    """

    def __init__(self, site: FeastSite, clock: Clock | None = None) -> None:
        self._site = site
        self._clock = clock or SystemClock()
        self._store: Any = None
        self._join_keys: dict[str, str] = {}
        self._look_again_at = -math.inf
        # SQLite's connection is shared by threads, and so is Feast's cache.
        self._lock = threading.Lock()

    def warm(self) -> tuple[str, ...]:
        """Imports Feast, opens the store and reads one value, so that the first request does not wait for it.

        Returns:
            The feature views that there are; none before the first run of the features step.

        Raises:
            Unavailable: a part does not answer.
            InvalidInput: the configuration cannot be used.
        """
        with self._lock, explained(self._site.where):
            store = self._open()
            views = store.list_feature_views()
            for view in views[:1]:
                key, feature = view.entity_columns[0].name, view.features[0].name
                store.get_online_features(features=[f"{view.name}:{feature}"], entity_rows=[{key: ""}])
            return tuple(str(view.name) for view in views)

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
        with self._lock, explained(self._site.where):
            store = self._open()
            key = self._join_key(store, feature_views[0].partition(":")[0])
            values = store.get_online_features(features=list(feature_views), entity_rows=[{key: entity}]).to_dict()
        names = [reference.partition(":")[2] for reference in feature_views]
        return {name: values[name][0] for name in names}

    def _open(self) -> Any:
        if self._store is None:
            self._store = self._site.open(serving=True)
        return self._store

    def _join_key(self, store: Any, view: str) -> str:
        from feast.errors import FeatureViewNotFoundException  # noqa: PLC0415 - slow to import

        if view not in self._join_keys:
            try:
                found = store.get_feature_view(view, allow_registry_cache=True)  # what the lookup itself asks
            except FeatureViewNotFoundException:
                try:
                    self._look_again(store)  # the view may be newer than the cached registry
                    found = store.get_feature_view(view, allow_registry_cache=True)
                except FeatureViewNotFoundException as error:
                    raise Unavailable(
                        f"the feature store {self._site.where} has no view {view!r}",
                        next_step="Run the fine_tune pipeline once: its features step registers it.",
                    ) from error
            self._join_keys[view] = str(found.entity_columns[0].name)
        return self._join_keys[view]

    def _look_again(self, store: Any) -> None:
        """Reads the whole registry anew, while all lookups wait: not at every request that names a missing view."""
        now = self._clock.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + _LOOK_AGAIN_SECONDS  # before it is read: one that hangs is asked once, too
            store.refresh_registry()


def _feast_objects(view: FeatureViewSpec, history: str) -> list[Any]:
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
                path=history,
                timestamp_field=TIME_COLUMN,
            ),
            online=True,
            description=view.description,
        ),
    ]
