"""The inference log: served requests as Parquet by model and hour. The gateway writes it, monitoring reads it.

Layout: `<root>/model=<model>/date=YYYY-MM-DD/hour=HH/part-<ulid>.parquet`, times in UTC by the request's arrival. A
part appears whole (written beside and renamed; on object storage an upload is atomic by itself) and is never changed.
`root` is a folder, or any address that `tidegate.adapters.storage` takes (`file://`, `s3://`, `gs://`).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.adapters import storage
from tidegate.adapters.object_storage import open_remote, translated
from tidegate.errors import ContractBroken, InvalidInput, ResourceExhausted, Unavailable, is_no_room
from tidegate.ids import new_id

if TYPE_CHECKING:
    import pyarrow as pa

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One request as its user saw it. Text columns are redacted before they are written.

    Args:
        time: arrival, UTC.
        user: salted digest of the user key.
        customer: entity id of the feature store (a surrogate key), redacted like text; retraining joins by it.
        text: the last user turn. `answer`: what was shown; partial when the answer broke off.
        outcome: ok, error, timeout, invalid, refused (the request was wrong) or abandoned (the client went away).
        latency_seconds: arrival to the end of the answer. `ttft_seconds`: arrival to the first token, streams only.
        features: the prompt's features by name, as they were used.
        mirrored: whether the turn was chosen to be answered by both arms; the other arm's answer is not in this log.
    """

    request_id: str
    time: datetime
    model: str
    deployment: str
    version: str
    role: str
    epoch: int
    rollout: str | None
    step: str | None
    user: str
    customer: str
    text: str
    answer: str | None
    outcome: str
    latency_seconds: float
    ttft_seconds: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    features: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False
    mirrored: bool = False


def schema() -> pa.Schema:
    """The columns: those of `LogRow` without `model` (it is the folder), `features` as JSON text."""
    import pyarrow as pa  # noqa: PLC0415 - not needed by who only imports the row

    text, number = pa.string(), pa.int32()
    return pa.schema(
        [
            pa.field("request_id", text, nullable=False),
            pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("deployment", text, nullable=False),
            pa.field("version", text, nullable=False),
            pa.field("role", text, nullable=False),
            pa.field("epoch", pa.int64(), nullable=False),
            pa.field("rollout", text),
            pa.field("step", text),
            pa.field("user", text, nullable=False),
            pa.field("customer", text, nullable=False),
            pa.field("text", text, nullable=False),
            pa.field("answer", text),
            pa.field("outcome", text, nullable=False),
            pa.field("latency_seconds", pa.float64(), nullable=False),
            pa.field("ttft_seconds", pa.float64()),
            pa.field("prompt_tokens", number),
            pa.field("completion_tokens", number),
            pa.field("features", text, nullable=False),
            pa.field("stream", pa.bool_(), nullable=False),
            pa.field("mirrored", pa.bool_(), nullable=False),
        ]
    )


def warm() -> None:
    """Imports what writing needs: pyarrow, and through its first table pandas, which takes seconds of CPU.

    A gateway that left this to its first write would slow down the requests of that moment.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    pa.Table.from_pylist([], schema=schema())
    pa.array([""])


def write_rows(root: str | Path, rows: Sequence[LogRow]) -> list[str]:
    """Writes one part per model and hour and returns their paths or addresses.

    Raises:
        ResourceExhausted: the disk is full.
        Unavailable: the folder or object store cannot be written; its kind `Denied`: it refuses us.
        NotFound: there is no such bucket.
    """
    parts: dict[str, list[LogRow]] = {}
    for row in rows:
        parts.setdefault(_folder(row.model, row.time), []).append(row)
    return [_write_part(root, folder, part) for folder, part in parts.items()]


def read_window(root: str | Path, model: str, start: datetime, end: datetime) -> pa.Table:
    """The rows of a model with `start <= time < end`, ordered by time; empty when there are none.

    Raises:
        InvalidInput: the model name is no folder name, or the times have no zone or are reversed.
        ContractBroken: a part is no Parquet with our columns.
        Unavailable: the folder or object store cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415

    batches = list(read_batches(root, model, start, end))
    return pa.Table.from_batches(batches, schema=schema()).sort_by("time")


def read_batches(root: str | Path, model: str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
    """The same rows part by part, for windows larger than memory; not ordered.

    Raises:
        ContractBroken: a part is no Parquet with our columns.
        InvalidInput, Unavailable: see `read_window`.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    start, end = _utc(start), _utc(end)
    if start > end:
        raise InvalidInput(
            f"the window's start {start} is after its end {end}", next_step="Give the earlier time first."
        )
    inside = (pc.field("time") >= start) & (pc.field("time") < end)
    with translated(str(root)):
        filesystem, base = _filesystem(root)
        paths = list(_parts(filesystem, base, model, start, end))
    for path in paths:
        local = storage.is_local(str(root))
        address = path if local else f"{str(root).rstrip('/')}{path.removeprefix(base)}"
        yield from (batch for batch in _read_part(address, inside).to_batches() if batch.num_rows)


def _read_part(address: str, inside: Any) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    # All of it first: pyarrow tells damaged content by OSError, too, as a disk or network would tell that it is away.
    content = storage.read_bytes(address)
    try:
        return pq.read_table(pa.BufferReader(content), schema=schema(), filters=inside, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ContractBroken(
            f"{address} is no part of an inference log, or damaged: {said}",
            next_step="Restore the file from a backup, or move it out of the log; its requests are then missing.",
        ) from error


def _folder(model: str, moment: datetime) -> str:
    return f"{_model_folder(model)}/date={moment:%Y-%m-%d}/hour={moment:%H}"


def _model_folder(model: str) -> str:
    if not _MODEL.fullmatch(model):
        raise InvalidInput(
            f"model name {model!r} cannot name a folder", next_step="Use letters, digits, '.', '_', '-'."
        )
    return f"model={model}"


def _write_part(root: str | Path, folder: str, rows: Sequence[LogRow]) -> str:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = schema()
    table = pa.Table.from_pylist([_values(row, columns.names) for row in rows], schema=columns)
    name = f"part-{new_id()}.parquet"
    if not storage.is_local(str(root)):
        # In memory first: an upload that is fed piece by piece could leave the pieces before a failure as an object.
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        address = storage.join(str(root), folder, name)
        storage.write_bytes(address, buffer.getvalue().to_pybytes())
        return address
    path = storage.local(str(root)).absolute() / folder / name
    part = path.with_name(f".{name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part, compression="zstd")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if is_no_room(error) or "No space left" in str(error):
            raise ResourceExhausted(
                f"no space for the inference log in {root}", next_step="Free disk space; the rows are kept meanwhile."
            ) from None
        raise Unavailable(
            f"the inference log {root} cannot be written: {error}", next_step="Check the folder and its permissions."
        ) from None
    return str(path)


def _values(row: LogRow, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    features = {name: _json_value(value) for name, value in row.features.items()}
    return values | {"features": json.dumps(features, sort_keys=True, ensure_ascii=False, allow_nan=False)}


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value  # NaN: pandas' missing


def _parts(filesystem: Any, base: str, model: str, start: datetime, end: datetime) -> Iterator[str]:
    """Parts of the hours that the window touches."""
    # Folder names sort by time.
    first, last = (f"{base}/{_folder(model, moment)}" for moment in (start, end))
    for folder in sorted(folder for folder in _hours(filesystem, base, model) if first <= folder <= last):
        for info in _listing(filesystem, folder):
            if info.base_name.startswith("part-") and info.extension == "parquet":
                yield info.path


def _hours(filesystem: Any, base: str, model: str) -> set[str]:
    """The hour folders that exist: two listings instead of a question per hour of a long window."""
    found: set[str] = set()
    for date in _listing(filesystem, f"{base}/{_model_folder(model)}"):
        found |= {info.path for info in _listing(filesystem, date.path)}
    return found


def _listing(filesystem: Any, folder: str) -> list[Any]:
    """What a folder holds; nothing where there is none.

    On object storage a folder is there with its first object. pyarrow asks whether it is a folder, then whether it is
    anything; what was written in between it takes for a file, once.
    """
    from pyarrow import fs  # noqa: PLC0415

    selector = fs.FileSelector(folder, allow_not_found=True, recursive=False)
    try:
        return list(filesystem.get_file_info(selector))
    except NotADirectoryError:
        return list(filesystem.get_file_info(selector))


def _filesystem(root: str | Path) -> tuple[Any, str]:
    """A pyarrow file system and the path on it. Remote ones are storage's: pyarrow's own S3 waits for minutes."""
    from pyarrow import fs  # noqa: PLC0415

    text = str(root)
    if storage.is_local(text):
        return fs.LocalFileSystem(), str(storage.local(text).absolute())
    filesystem, path = open_remote(text)
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path.rstrip("/")


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput(f"time {moment} has no time zone", next_step="Give it in UTC.")
    return moment.astimezone(UTC)
