"""The features job: history into the Feast repository, the point-in-time join, the online store, the template."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from components._payload import parse_payload
from components.datasets.customers import customer_id
from components.features.profiles import profile_history
from components.features.spec import FeaturesResult, FeaturesSpec
from components.features.template import CUSTOMER_PROFILE, template_for
from components.prepare.logic import MANIFEST
from components.prepare.split import SPLITS
from tidegate.adapters import storage
from tidegate.adapters.feast_site import site_of
from tidegate.adapters.feast_store import TIME_COLUMN, FeastRepository
from tidegate.clock import SystemClock
from tidegate.domain.manifest import DataManifest
from tidegate.errors import ContractBroken, InvalidInput
from tidegate.ports import Progress
from tidegate.prompt import FeatureValue, PromptTemplate
from tidegate.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

PROMPT = "prompt.json"
_KEY = CUSTOMER_PROFILE.join_key


def run(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Payload: `FeaturesSpec`. Result: `FeaturesResult`. The prompt is written last: a folder with one is complete.

    Raises:
        NotFound: prepare's folder is not there.
        InvalidInput: a mapped feature that the view does not have, a value of the wrong type, or a configuration of
            the feature store that cannot be used.
        Unavailable: a part of the feature store does not answer.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    spec = parse_payload(FeaturesSpec, payload)
    manifest = DataManifest.model_validate_json(storage.read_bytes(storage.join(spec.in_uri, MANIFEST)))
    splits = {
        name: pd.read_parquet(io.BytesIO(storage.read_bytes(storage.join(spec.in_uri, f"{name}.parquet"))))
        for name in SPLITS
    }
    rows = pd.concat(splits.values(), ignore_index=True)
    until = max(SystemClock().now(), rows["event_time"].max().to_pydatetime())
    mapped = _mapped_features(rows)
    if mapped:
        history, names = _given_history(rows, mapped), mapped
    else:
        customers = sorted({*rows["group"], *(customer_id(number) for number in range(spec.customer_pool))})
        history, names = invented_history(customers, until), tuple(CUSTOMER_PROFILE.fields)
    prompt = template_for(names, manifest.labels)

    repository = FeastRepository(site_of(load_settings()))
    customers_written = int(history[_KEY].nunique())
    progress(f"writing the history of {customers_written} customers", {"customers": float(customers_written)})
    total = repository.update(CUSTOMER_PROFILE, history, until)
    progress(f"online store holds the values of {until:%Y-%m-%d %H:%M} UTC", {"history_rows": float(total)})
    joined = _join(repository, rows, prompt)
    progress(
        f"joined {len(prompt.features)} features to {len(rows)} rows at their event times", {"rows": float(len(rows))}
    )

    if not mapped:
        invented = tuple(sorted({*manifest.synthetic_columns, *prompt.features}))
        manifest = manifest.model_copy(update={"synthetic_columns": invented})
    for name in SPLITS:
        table = _with_features(splits[name], joined, prompt)
        storage.write_bytes(storage.join(spec.out_uri, f"{name}.parquet"), table.to_parquet(index=False))
    storage.write_bytes(storage.join(spec.out_uri, MANIFEST), manifest.model_dump_json(indent=2).encode())
    storage.write_bytes(storage.join(spec.out_uri, PROMPT), prompt.model_dump_json(indent=2).encode())
    return FeaturesResult(
        uri=spec.out_uri,
        prompt=prompt,
        manifest=manifest,
        customers=customers_written,
        history_rows=total,
        synthetic=not mapped,
    ).model_dump(mode="json")


def invented_history(customers: Sequence[str], until: datetime) -> pd.DataFrame:
    """The invented histories of customers as the frame that the feature view takes."""
    return _frame(
        [(customer, moment, values) for customer in customers for moment, values in profile_history(customer, until)]
    )


def _frame(history: Sequence[tuple[str, datetime, Mapping[str, FeatureValue]]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - slow to import

    frame = pd.DataFrame({_KEY: [customer for customer, _, _ in history]})
    frame[TIME_COLUMN] = pd.to_datetime([moment for _, moment, _ in history], utc=True).as_unit("us")
    for name, kind in CUSTOMER_PROFILE.fields.items():
        values = [_typed(name, values.get(name), kind) for _, _, values in history]
        frame[name] = pd.Series(values, dtype="Int64" if kind is int else "object")
    return frame


def _typed(name: str, value: FeatureValue, kind: type) -> FeatureValue:
    """A value in the view's type: files give numbers as text, or text as numbers."""
    if value is None:
        return None
    try:
        return int(float(value)) if kind is int else str(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"feature {name!r} has the value {value!r}", next_step="Give a whole number, or leave the cell empty."
        ) from error


def _mapped_features(rows: pd.DataFrame) -> tuple[str, ...]:
    if "features" not in rows.columns:
        return ()
    names = {name for text in rows["features"].dropna() for name in json.loads(text)}
    return tuple(sorted(names))


def _given_history(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    template_for(names, ())  # refuses a feature that the view does not have
    given = zip(rows["group"], rows["event_time"], rows["features"], strict=True)
    return _frame(
        [(group, time.to_pydatetime(), json.loads(text)) for group, time, text in given if isinstance(text, str)]
    )


def _join(repository: FeastRepository, rows: pd.DataFrame, prompt: PromptTemplate) -> pd.DataFrame:
    """One line per row id with its features, as they were at the row's event time."""
    entities = rows[["id", "group", "event_time"]].rename(columns={"group": _KEY, "event_time": TIME_COLUMN})
    joined = repository.history_at(entities, prompt.feature_views).set_index("id")
    if len(joined) != len(rows) or not joined.index.is_unique:
        raise ContractBroken(
            f"the feature join made {len(joined)} rows of {len(rows)}", next_step="Report this with the manifest."
        )
    return joined


def _with_features(split: pd.DataFrame, joined: pd.DataFrame, prompt: PromptTemplate) -> pd.DataFrame:
    table = split.drop(columns=["features"], errors="ignore")
    for name in prompt.features:
        column = joined.loc[table["id"], name].reset_index(drop=True)
        table[name] = column.astype("Int64") if CUSTOMER_PROFILE.fields[name] is int else column.astype("object")
    return table
