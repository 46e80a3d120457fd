"""New rows for a retraining: labelled requests of the inference log as JSON lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

from tidegate import inference_log
from tidegate.adapters import storage
from tidegate.clock import Clock, SystemClock
from tidegate.db import Database
from tidegate.errors import InvalidInput
from tidegate.ids import new_id
from tidegate.settings import Settings, load_settings
from tidegate.store.evidence import EvidenceStore

_CHUNK = 1000
_LABELS_REACH: Final = timedelta(days=7)
"""How long before the moment requests are looked for whose label came after it."""


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
    """Writes the labelled requests of a deployment that are new since a moment and returns how many.

    New is what was served since, and what was served in the seven days before and has its label since: labels often
    come once a day, and the run that read the rows of that time found those without one.

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
        evidence, now = EvidenceStore(db, clock), clock.now()
        log = _Log(settings.inference_log.uri, model or deployment, deployment)
        with part.open("w", encoding="utf-8") as file:
            written: set[str] = set()
            _write(log.rows(since, now), evidence, written, file)
            late = evidence.labelled_since(deployment, since) - written
            if late:
                rows = (row for row in log.rows(since - _LABELS_REACH, since) if row["request_id"] in late)
                _write(rows, evidence, written, file)
        if len(written) < min_rows:
            raise InvalidInput(
                f"{len(written)} requests of {deployment!r} were served or labelled since "
                f"{since:%Y-%m-%dT%H:%M:%SZ} and have a label, a retraining needs {min_rows}",
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


@dataclass(frozen=True, slots=True)
class _Log:
    root: str
    model: str
    deployment: str

    def rows(self, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        """What the deployment answered in [since, until), without what had no text."""
        columns = ["request_id", "time", "customer", "text", "deployment"]
        for batch in inference_log.read_batches(self.root, self.model, since, until):
            rows = batch.select(columns).to_pylist()
            yield from (row for row in rows if row["deployment"] == self.deployment and row["text"].strip())


def _write(rows: Iterator[dict[str, Any]], evidence: EvidenceStore, written: set[str], file: TextIO) -> None:
    """The rows that have a label and were not written yet."""
    while chunk := list(islice(rows, _CHUNK)):
        labels = evidence.labels([row["request_id"] for row in chunk])
        for row in chunk:
            request = row["request_id"]
            if request in labels and request not in written:
                file.write(json.dumps(_line(row, labels[request]), ensure_ascii=False) + "\n")
                written.add(request)


def _line(row: dict[str, Any], label: str) -> dict[str, str]:
    return {
        "id": row["request_id"],
        "text": row["text"],
        "label": label,
        "group": row["customer"],
        "event_time": row["time"].isoformat(),
    }
