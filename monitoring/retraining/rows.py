"""New rows for a retraining: labelled requests of the inference log as JSON lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from tidegate import inference_log
from tidegate.adapters import storage
from tidegate.clock import Clock, SystemClock
from tidegate.db import Database
from tidegate.errors import InvalidInput
from tidegate.ids import new_id
from tidegate.settings import Settings, load_settings
from tidegate.store.evidence import EvidenceStore

_CHUNK = 1000


def export_new_rows(
    deployment: str,
    since: datetime,
    out: str | Path,
    min_rows: int,
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    model: str | None = None,
) -> int:
    """Writes the labelled requests of a deployment since a moment and returns how many.

    Lines have `id`, `text`, `label`, `group` (the customer) and `event_time` (ISO 8601, UTC). A request that the log
    holds twice (its batch was written again after a failure) is one line. The file appears whole, and memory holds one
    chunk and the ids of the labelled requests, whatever the log's size.

    Args:
        out: path or fsspec address of the file.
        model: logical model name that the log is filed under; by default the deployment's name.

    Raises:
        InvalidInput: fewer than `min_rows` requests have a label; nothing is written.
    """
    settings, clock = settings or load_settings(), clock or SystemClock()
    db = Database.open(settings.database_url)
    uri = str(out)
    near = storage.local(uri) if storage.is_local(uri) else Path(tempfile.gettempdir()) / f"rows-{new_id()}"
    part = near.with_name(f"{near.name}.{os.getpid()}.part")
    try:
        near.parent.mkdir(parents=True, exist_ok=True)
        written: set[str] = set()
        served = _served(settings.inference_log.uri, model or deployment, deployment, since, clock.now())
        with part.open("w", encoding="utf-8") as file:
            while chunk := list(islice(served, _CHUNK)):
                labels = EvidenceStore(db, clock).labels([row["request_id"] for row in chunk])
                for row in chunk:
                    request = row["request_id"]
                    if request in labels and request not in written:
                        file.write(json.dumps(_line(row, labels[request]), ensure_ascii=False) + "\n")
                        written.add(request)
        if len(written) < min_rows:
            raise InvalidInput(
                f"{len(written)} requests of {deployment!r} since {since:%Y-%m-%dT%H:%M:%SZ} have a label, "
                f"a retraining needs {min_rows}",
                next_step="Send labels with POST /v1/feedback, or lower the minimum.",
            )
        if storage.is_local(uri):
            part.replace(near)
        else:
            storage.upload(part, uri)
    finally:
        part.unlink(missing_ok=True)
        db.close()
    return len(written)


def _served(root: str, model: str, deployment: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    columns = ["request_id", "time", "customer", "text", "deployment"]
    for batch in inference_log.read_batches(root, model, since, until):
        yield from (
            row for row in batch.select(columns).to_pylist() if row["deployment"] == deployment and row["text"].strip()
        )


def _line(row: dict[str, Any], label: str) -> dict[str, str]:
    return {
        "id": row["request_id"],
        "text": row["text"],
        "label": label,
        "group": row["customer"],
        "event_time": row["time"].isoformat(),
    }
