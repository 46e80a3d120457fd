"""The reference window: what a version saw and did when it was evaluated, registered with the version.

A Parquet file of one row per evaluated example with the columns `text`, `label`, `prediction`, `correct` and one
column per feature; its metadata name the features and the closed set of labels. Registration writes it, the drift job
reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from tidegate.adapters import storage
from tidegate.errors import ContractBroken, InvalidInput

if TYPE_CHECKING:
    import pandas as pd

CORE_COLUMNS = ("text", "label", "prediction", "correct")
# Columns of a split that describe the row, not the customer: never compared as features.
ROW_COLUMNS = ("id", "group", "event_time", "source")
FILE_NAME = "reference.parquet"
_METADATA_KEY = b"tidegate.reference"


@dataclass(frozen=True)
class Reference:
    """`rows` has the core columns and `features`; `labels` is empty when answers are free text."""

    rows: pd.DataFrame
    features: tuple[str, ...]
    labels: tuple[str, ...]


def write_reference(rows: pd.DataFrame, out_uri: str, *, labels: Sequence[str] = ()) -> str:
    """Writes the reference window and returns its URI.

    Args:
        rows: columns `text`, `label`, `prediction`, `correct`; `group` (customer) if known; every further column is a
            feature. `id`, `event_time` and `source` are left out.
        out_uri: a `.parquet` address, or a folder that gets `reference.parquet`.
        labels: the closed set of valid answers; by default the labels that occur.

    Raises:
        InvalidInput: a core column is missing or there are no rows.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415

    missing = [name for name in CORE_COLUMNS if name not in rows.columns]
    if missing or rows.empty:
        problem = f"has no column {', '.join(missing)}" if missing else "has no rows"
        raise InvalidInput(
            f"the reference window for {out_uri} {problem}",
            next_step="Give the rows that the version was evaluated on.",
        )
    features = [str(name) for name in rows.columns if name not in (*CORE_COLUMNS, *ROW_COLUMNS)]
    kept = rows[[*CORE_COLUMNS, *(["group"] if "group" in rows.columns else []), *features]].reset_index(drop=True)
    kept = kept.assign(correct=kept["correct"].astype(bool))
    closed = sorted(labels) or sorted({str(label) for label in kept["label"].dropna()})
    table = pa.Table.from_pandas(kept, preserve_index=False)
    metadata = {_METADATA_KEY: json.dumps({"version": 1, "features": features, "labels": closed}).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    uri = out_uri if out_uri.endswith(".parquet") else storage.join(out_uri, FILE_NAME)
    buffer = BytesIO()
    pq.write_table(table, buffer)
    storage.write_bytes(uri, buffer.getvalue())
    return uri


def read_reference(uri: str) -> Reference:
    """The reference window of a version.

    Raises:
        NotFound: there is no such file.
        ContractBroken: it is not a reference window.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415

    data = storage.read_bytes(uri)
    try:
        table = pq.read_table(pa.BufferReader(data))
        described = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        features, labels = tuple(described["features"]), tuple(described["labels"])
        rows = table.to_pandas()
        rows = rows[[name for name in (*CORE_COLUMNS, "group", *features) if name in rows.columns or name != "group"]]
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise ContractBroken(
            f"{uri} is not a reference window: {error}",
            next_step="Register the version again; registration writes the window.",
        ) from None
    return Reference(rows=rows, features=features, labels=labels)
