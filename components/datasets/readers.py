"""Readers of CSV, JSON lines and Parquet: bytes in, `RawRow`s out; a bad row is marked, a bad file is refused.

A row that cannot be used is returned with its `problem`, so that preparation accounts for it. The file as a whole is
refused (`InvalidInput`) when a mapped column is missing, when it has no rows, when it is no file of its format, or, for
CSV, when one field is larger than `MAX_ROW_BYTES`: that is nearly always a quote that was never closed, and everything
behind it would be lost without notice. In JSON lines such a row ends at its line and only it is dropped.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.datasets.rows import COLUMNS, RawRow
from tidegate.domain.base import Contract
from tidegate.domain.manifest import DropReason
from tidegate.errors import InvalidInput, NotFound
from tidegate.prompt import FeatureValue

Format = Literal["csv", "jsonl", "parquet"]
MAX_ROW_BYTES = 1 << 20
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ColumnMapping(Contract):
    """Which columns of a file hold what. A column that is not named is not read."""

    text: str = Field(default="text", description="the customer's message")
    label: str = Field(default="label", description="its intent")
    group: str | None = Field(default=None, description="the customer; None: invented, and marked as synthetic")
    event_time: str | None = Field(
        default=None,
        description="ISO 8601 (without a zone: UTC), a Parquet timestamp, or seconds since 1970; None: invented",
    )
    features: dict[str, str] = Field(default={}, description="feature name to column")

    def columns(self) -> tuple[str, ...]:
        named = (self.text, self.label, self.group, self.event_time, *self.features.values())
        return tuple(dict.fromkeys(name for name in named if name is not None))


GENERATED_MAPPING = ColumnMapping(text=COLUMNS[0], label=COLUMNS[1], group=COLUMNS[2], event_time=COLUMNS[3])
"""The columns that `components.datasets.rows.write_csv` writes."""


def format_of(name: str) -> Format:
    """The format by a file name's ending.

    Raises:
        InvalidInput: for any other ending.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidInput(
            f"data file {name!r} ends in {suffix!r}", next_step="Name the format: csv, jsonl or parquet."
        )
    return _SUFFIXES[suffix]


def read_rows(path: Path, format: Format, mapping: ColumnMapping, source: str) -> list[RawRow]:  # noqa: A002
    """All rows of a file, the broken ones marked.

    Args:
        path: a local file.
        format: how to read it.
        mapping: the columns.
        source: name that the rows carry and that errors say.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file as a whole cannot be used; see the module's description.
    """
    if not path.is_file():
        raise NotFound(f"data file {source!r} does not exist", next_step="Check the path that --data names.")
    if path.stat().st_size == 0:
        raise InvalidInput(f"data file {source!r} is empty", next_step="Give a file with a header and rows.")
    reader = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[format]
    rows = [_row(cells, mapping, source) for cells in reader(path, mapping, source)]
    if not rows:
        raise InvalidInput(f"data file {source!r} has no rows", next_step="Give a file with rows under its header.")
    return rows


def require_columns(mapping: ColumnMapping, present: Sequence[str], source: str) -> None:
    """Every mapped column exists.

    Raises:
        InvalidInput: names the missing column, the columns that exist, and the nearest of them.
    """
    for name in mapping.columns():
        if name in present:
            continue
        shown = [column.encode(errors="replace").decode() for column in present]
        near = difflib.get_close_matches(name.lower(), [column.lower() for column in shown], n=1, cutoff=0.6)
        guess = next((column for column in shown if near and column.lower() == near[0]), None)
        hint = f"Did you mean {guess!r}? " if guess else ""
        raise InvalidInput(
            f"data file {source!r} has no column {name!r}; it has {', '.join(map(repr, shown)) or 'none'}",
            next_step=f"{hint}Map the columns to the names that the file has (--text NAME, --label NAME).",
        )


_Cells = Mapping[str, Any] | DropReason
"""A row's mapped cells, or why it has none."""


def _csv(path: Path, mapping: ColumnMapping, source: str) -> Iterator[_Cells]:
    with path.open("rb") as raw:
        if raw.read(2) in _UTF16_MARKS:
            raise InvalidInput(f"data file {source!r} is UTF-16", next_step="Save it as UTF-8.")
    previous = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            try:
                header = [name.strip() for name in next(reader, [])]
                require_columns(mapping, header, source)
                for cells in reader:
                    if cells:  # a blank line is no row
                        yield dict(zip(header, cells, strict=True)) if len(cells) == len(header) else "malformed_row"
            except csv.Error as error:
                raise InvalidInput(
                    f"data file {source!r} cannot be read beyond line {reader.line_num}: {error}",
                    next_step=f"Look for a quote that is not closed, or a field over {MAX_ROW_BYTES} bytes.",
                ) from error
    finally:
        csv.field_size_limit(previous)


def _jsonl(path: Path, mapping: ColumnMapping, source: str) -> Iterator[_Cells]:
    checked = False
    with path.open("rb") as file:
        while line := file.readline(MAX_ROW_BYTES + 1):
            if len(line) > MAX_ROW_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_ROW_BYTES)
                yield "too_long"
                continue
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode(errors="surrogateescape"))
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                yield "malformed_row"
                continue
            if not checked:  # the first object stands for the header; later ones may leave a key out
                require_columns(mapping, list(value), source)
                checked = True
            yield value


def _parquet(path: Path, mapping: ColumnMapping, source: str) -> Iterator[_Cells]:
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InvalidInput(
            f"data file {source!r} is not Parquet: {error}", next_step="Check the file, or name its format."
        ) from error
    with file:
        schema = file.schema_arrow
        require_columns(mapping, schema.names, source)
        kind = schema.field(mapping.text).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InvalidInput(
                f"column {mapping.text!r} of {source!r} has the type {kind}", next_step="Map text to a string column."
            )
        for batch in file.iter_batches(columns=list(mapping.columns())):
            # Writers do not all check their UTF-8; as bytes a bad value costs its row and not the file.
            columns = {name: _python_values(batch.column(name), pa) for name in batch.schema.names}
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))


def _python_values(column: Any, pa: Any) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return list(column.to_pylist())
    binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
    return [
        None if value is None else value.decode(errors="surrogateescape") for value in column.cast(binary).to_pylist()
    ]


def _row(cells: _Cells, mapping: ColumnMapping, source: str) -> RawRow:
    if isinstance(cells, str):
        return RawRow(text=None, label=None, source=source, problem=cells)
    try:
        row = RawRow(
            text=_text(cells.get(mapping.text)),
            label=_label(cells.get(mapping.label)),
            group=_label(cells.get(mapping.group)) if mapping.group else None,
            event_time=_time(cells.get(mapping.event_time)) if mapping.event_time else None,
            source=source,
            features={name: _feature(cells.get(column)) for name, column in mapping.features.items()},
        )
    except (ValueError, OverflowError, OSError):
        return RawRow(text=None, label=None, source=source, problem="malformed_row")
    if any(_undecodable(value) for value in (row.text, row.label, row.group, *row.features.values())):
        return RawRow(text=None, label=None, source=source, problem="invalid_encoding")
    return row


def _undecodable(value: object) -> bool:
    """A lone surrogate: either an escaped invalid byte, or JSON's escape of half a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"text of the type {type(value).__name__}")


def _label(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(value)
    return text.strip() or None if text is not None else None


def _time(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise ValueError("a time of the type bool")  # noqa: TRY004 - a bad cell is a value
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    time = value if isinstance(value, datetime) else datetime.fromisoformat(str(_text(value)).strip())
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _feature(value: object) -> FeatureValue:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value if value != "" else None
    raise ValueError(f"a feature of the type {type(value).__name__}")
