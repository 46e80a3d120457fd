"""The window of served requests: read part by part from the inference log, reduced to a bounded, seeded sample."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidegate import inference_log

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("request_id", "time", "customer", "text", "answer", "features")
# What an application asked and the version answered; a refused request or one whose client left says nothing of either.
_JUDGED_OUTCOMES = frozenset({"ok", "invalid"})


@dataclass(frozen=True)
class Window:
    """`rows` has `COLUMNS`, with `features` as a dictionary; `served` counts the rows before sampling."""

    rows: pd.DataFrame
    served: int


def read(
    root: str, *, model: str, deployment: str, version: str, start: datetime, end: datetime, max_rows: int, seed: int
) -> Window:
    """The requests that a version answered in [start, end).

    Never holds more than `max_rows` rows and one part of the log. The sample is a function of the seed and the request
    ids alone: the same window gives the same rows, whatever the order of the parts.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    batches = inference_log.read_batches(root, model, start, end)
    wanted = (
        row
        for batch in batches
        for row in batch.select([*COLUMNS, "deployment", "version", "outcome"]).to_pylist()
        if row["deployment"] == deployment and row["version"] == version and row["outcome"] in _JUDGED_OUTCOMES
    )
    kept, served = _sample((row for row in wanted if row["text"].strip()), max_rows, seed)
    rows = pd.DataFrame([_plain(row) for row in kept], columns=list(COLUMNS))
    return Window(rows=rows.sort_values(["time", "request_id"]).reset_index(drop=True), served=served)


def _sample(rows: Iterable[dict[str, Any]], size: int, seed: int) -> tuple[list[dict[str, Any]], int]:
    """Bottom-k sampling: the `size` rows with the smallest salted hashes; and how many there were.

    A request id that comes again (a client that repeats one, a part of the log that was written twice) counts once.
    """
    heap: list[tuple[int, str, dict[str, Any]]] = []
    held: set[str] = set()
    seen = 0
    for row in rows:
        if row["request_id"] in held:
            continue
        seen += 1
        digest = hashlib.sha256(f"{seed}\x00{row['request_id']}".encode()).digest()
        item = (-int.from_bytes(digest[:8], "big"), row["request_id"], row)
        if len(heap) < size:
            heapq.heappush(heap, item)
            held.add(row["request_id"])
        elif item[:2] > heap[0][:2]:
            held.discard(heapq.heapreplace(heap, item)[1])
            held.add(row["request_id"])
    return [row for _, _, row in heap], seen


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {**{name: row[name] for name in COLUMNS}, "features": json.loads(row["features"])}
