"""The prepare job: reads the sources, runs the stages, writes the splits and the manifest."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components._payload import parse_payload
from components.datasets import banking77, customers, readers
from components.datasets.rows import RawRow
from components.prepare import stages
from components.prepare.near import drop_near_duplicates
from components.prepare.spec import PrepareResult, PrepareSpec, SchemaContract, Source
from components.prepare.split import SPLITS, SplitName, split_rows
from tidegate.adapters import storage
from tidegate.clock import Clock, SystemClock
from tidegate.domain.manifest import DataManifest, SplitInfo, StageAccount
from tidegate.errors import InvalidInput
from tidegate.ids import digest_file, digest_json
from tidegate.ports import Progress
from tidegate.settings import load_settings

MANIFEST = "manifest.json"
_ID_CHARACTERS = 24


def run(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Payload: `PrepareSpec`. Result: `PrepareResult`. The manifest is written last: a folder with one is complete.

    Raises:
        InvalidInput: the data cannot be used; says what and why.
    """
    spec = parse_payload(PrepareSpec, payload)
    splits, manifest = prepare(spec, load_settings().cache, SystemClock(), progress)
    for name in SPLITS:
        storage.write_bytes(storage.join(spec.out_uri, f"{name}.parquet"), _parquet(splits[name]))
    storage.write_bytes(storage.join(spec.out_uri, MANIFEST), manifest.model_dump_json(indent=2).encode())
    return PrepareResult(uri=spec.out_uri, manifest=manifest).model_dump(mode="json")


def prepare(
    spec: PrepareSpec, cache: Path, clock: Clock, progress: Progress
) -> tuple[dict[SplitName, list[stages.Row]], DataManifest]:
    """The splits and their manifest; writes nothing. `cache` is where remote files are kept."""
    raw: list[RawRow] = []
    digests: dict[str, str] = {}
    synthetic: set[str] = set()
    pinned: dict[str, SplitName] = {}
    for number, source in enumerate(spec.sources):
        found, digest = _read(source, cache)
        filled, invented = fill_missing_columns(found, source, spec, number)
        # The split keeps a timeline per source, so two files of one name must not become one source.
        names = {row.source for row in raw}
        named = [replace(row, source=f"{row.source}#{number}") if row.source in names else row for row in filled]
        if source.split != "auto":
            pinned |= {row.source: source.split for row in named}
        raw += named
        digests[f"{number}:{source.uri}"] = digest
        synthetic |= invented | set(source.synthetic)
        progress(f"read {len(found)} rows of {source.uri}", {"rows": float(len(found))})

    rows, accounts, findings = clean(raw, spec, progress)
    labels = sorted({row.label for row in rows})
    if len(labels) < 2:
        raise InvalidInput(
            f"after cleaning, the data has {len(labels)} label(s): {labels}",
            next_step="Give rows of two labels or more; there is nothing to tell apart.",
        )
    splits, account = split_rows(
        rows, validation_fraction=spec.validation_fraction, test_fraction=spec.test_fraction, pinned=pinned
    )
    _report(account, progress)
    for name in SPLITS:
        if not splits[name]:
            raise InvalidInput(
                f"{len(rows)} rows of {len({row.group for row in rows})} customers leave the {name} split empty",
                next_step="Give more rows, of more customers, spread over more time; or other split fractions.",
            )
    infos = tuple(_info(name, splits[name]) for name in SPLITS)
    manifest = DataManifest(
        source=", ".join(source.uri for source in spec.sources),
        source_digest=digest_json(sorted(digests.values())),
        contract_hash=digest_json(spec.contract.model_dump(mode="json")),
        content_digest=digest_json({info.name: info.digest for info in infos}),
        stages=(*accounts, account),
        splits=infos,
        labels=tuple(sorted(spec.contract.labels or labels)),
        pii_findings=findings,
        synthetic_columns=tuple(sorted(synthetic)),
        duplicates_across_splits=duplicates_across(splits),
        created_at=clock.now(),
    )
    return splits, manifest


def clean(
    raw: Sequence[RawRow], spec: PrepareSpec, progress: Progress
) -> tuple[list[stages.Row], list[StageAccount], dict[str, int]]:
    """All stages before the split: rows in order of time, the accounts, and the personal data found by kind.

    Raises:
        InvalidInput: the share of broken rows exceeds the contract's limit.
    """
    accounts: list[StageAccount] = []

    def note(account: StageAccount) -> None:
        accounts.append(account)
        _report(account, progress)

    rows, account = stages.check_contract(raw, spec.contract)
    note(account)
    _refuse_if_mostly_broken(account, spec.contract)
    rows, account = stages.normalise(rows, spec.contract)
    note(account)
    rows, account, findings = stages.redact_rows(rows)
    note(account)
    rows, account = stages.drop_conflicts(rows)
    note(account)
    rows, account = stages.drop_exact_duplicates(rows)
    note(account)
    rows, account = drop_near_duplicates(rows, spec.near_duplicate_similarity)
    note(account)
    return rows, accounts, findings


def fill_missing_columns(
    rows: Sequence[RawRow], source: Source, spec: PrepareSpec, number: int
) -> tuple[list[RawRow], set[str]]:
    """Invents the columns that the mapping does not name: a function of the seed and of positions, never of a label."""
    mapping = banking77.MAPPING if source.format == "banking77" else source.mapping
    invented: set[str] = set()
    seed = spec.seed + number
    filled = list(rows)
    if mapping.group is None:
        groups = customers.invent_groups(len(filled), seed)
        filled = [replace(row, group=group) for row, group in zip(filled, groups, strict=True)]
        invented.add("group")
    if mapping.event_time is None:
        owners = [row.group or "" for row in filled]
        times = customers.invent_times(owners, seed, spec.synthetic_start, spec.synthetic_weeks)
        filled = [replace(row, event_time=time) for row, time in zip(filled, times, strict=True)]
        invented.add("event_time")
    return filled, invented


def duplicates_across(splits: Mapping[SplitName, Sequence[stages.Row]]) -> int:
    """The number of texts, by identity, that occur in more than one split."""
    seen: dict[str, SplitName] = {}
    doubles: set[str] = set()
    for name, rows in splits.items():
        for row in rows:
            if seen.setdefault(stages.identity(row.text), name) != name:
                doubles.add(stages.identity(row.text))
    return len(doubles)


def _read(source: Source, cache: Path) -> tuple[list[RawRow], str]:
    """The rows of a source and the digest of its file."""
    if source.format == "banking77":
        folder = storage.local_path(source.uri, cache)
        intents = source.intents or banking77.BASE_INTENTS
        rows = banking77.read_banking77(folder, intents=intents, cap=source.per_label_cap or banking77.DEFAULT_CAP)
        return rows, digest_file(folder / "train.csv")
    format_ = readers.format_of(source.uri) if source.format == "auto" else source.format
    path = storage.local_path(source.uri, cache)
    rows = readers.read_rows(path, format_, source.mapping, source.uri.rsplit("/", 1)[-1])
    if source.intents or source.per_label_cap:
        intents = source.intents or tuple(sorted({row.label for row in rows if row.label}))
        rows = banking77.select(rows, intents, source.per_label_cap)
    return rows, digest_file(path)


def _refuse_if_mostly_broken(account: StageAccount, contract: SchemaContract) -> None:
    broken = account.rows_in - account.rows_out
    if account.rows_in == 0 or broken / account.rows_in <= contract.max_bad_share:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in account.dropped.items())
    raise InvalidInput(
        f"{broken} of {account.rows_in} rows break the schema contract ({reasons}); "
        f"the limit is {contract.max_bad_share:.0%}",
        next_step="Check the column mapping, the encoding (UTF-8) and the label set, or raise max_bad_share.",
    )


def _report(account: StageAccount, progress: Progress) -> None:
    lost = ", ".join(f"{count} {reason}" for reason, count in account.dropped.items()) or "nothing dropped"
    numbers = {"rows_in": float(account.rows_in), "rows_out": float(account.rows_out)}
    progress(f"{account.stage}: {account.rows_in} rows in, {account.rows_out} out; {lost}", numbers)


def _info(name: SplitName, rows: Sequence[stages.Row]) -> SplitInfo:
    return SplitInfo(
        name=name,
        rows=len(rows),
        groups=len({row.group for row in rows}),
        start=min(row.event_time for row in rows),
        end=max(row.event_time for row in rows),
        digest=digest_json([_record(row) for row in rows]),
    )


def _record(row: stages.Row) -> dict[str, Any]:
    """A row as JSON, with the id that its content gives it."""
    content = {
        "text": row.text,
        "label": row.label,
        "group": row.group,
        "event_time": row.event_time.isoformat(),
        "source": row.source,
        **({"features": row.features} if row.features else {}),
    }
    return {"id": digest_json(content).removeprefix("sha256:")[:_ID_CHARACTERS], **content}


def _parquet(rows: Sequence[stages.Row]) -> bytes:
    """`id, text, label, group, event_time, source`; and `features`, as JSON, when the mapping names some."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    records = [_record(row) for row in rows]
    columns: dict[str, Any] = {
        name: pa.array([record[name] for record in records], pa.string()) for name in ("id", "text", "label", "group")
    }
    columns["event_time"] = pa.array([row.event_time for row in rows], pa.timestamp("us", tz="UTC"))
    columns["source"] = pa.array([row.source for row in rows], pa.string())
    if any(row.features for row in rows):
        columns["features"] = pa.array([json.dumps(row.features, sort_keys=True) for row in rows], pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
