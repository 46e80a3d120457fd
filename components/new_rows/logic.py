"""What a retraining starts from: the new labelled rows, a replay of the champion's rows, and its adapter.

The champion is the stable arm of the routing in force: by it the gateways serve, and the drift check asks the same.
An alias only nominates, and nobody has to be told which version serves, so that a schedule can retrain at night.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from components._payload import parse_payload
from components.new_rows.spec import NewRowsResult, NewRowsSpec
from monitoring.drift.spec import DriftCheckSpec
from monitoring.drift.target import find_target
from monitoring.retraining.rows import export_new_rows
from tidegate.adapters import storage
from tidegate.adapters.job_folder import JobFolder, folder_uri
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.manifest import DataManifest
from tidegate.domain.version import ModelVersion
from tidegate.errors import InvalidInput
from tidegate.ports import Progress
from tidegate.settings import Settings, load_settings
from tidegate.store.runs import RunStore

_LONGEST_LINE: Final = 100
MAPPING: Final = {"text": "text", "label": "label", "group": "group", "event_time": "event_time"}


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The job: NewRowsSpec in, NewRowsResult out, both as JSON.

    Raises:
        NotFound: nothing serves for the deployment, or the registry has no such version.
        InvalidInput: another model serves than the one asked for, or there are too few new labelled rows.
        Unavailable: registry, database or storage does not answer.
    """
    spec = parse_payload(NewRowsSpec, payload)
    settings, clock = load_settings(), SystemClock()
    db = Database.open(settings.database_url)
    try:
        # An address of a reference spares the look-up of one, which a retraining does not need.
        target = find_target(DriftCheckSpec(deployment=spec.deployment, reference_uri="-"), settings, db, clock)
        if spec.model not in (None, target.model):
            raise InvalidInput(
                f"deployment {spec.deployment!r} serves model {target.model!r}, not {spec.model!r}",
                next_step="Leave model_name out, or name the deployment of that model.",
            )
        registry = MlflowRegistry(settings.mlflow_uri, cache=settings.cache)
        champion = registry.get(target.model, target.version)
        since, pool = _read_at(settings, db, champion), _customer_pool(settings, db, registry, champion)
    finally:
        db.close()
    progress(f"{champion.key} serves {spec.deployment}; rows since {since:%Y-%m-%d %H:%M:%S} UTC are new", {})
    uri = storage.join(spec.out_uri, "new_rows.jsonl")
    rows = export_new_rows(
        spec.deployment, since, uri, spec.min_rows, settings=settings, clock=clock, model=target.logical_model
    )
    progress(f"{rows} new labelled rows", {"rows": float(rows)})
    return NewRowsResult(
        uri=uri,
        rows=rows,
        since=since,
        replay=tuple(_replay(settings, champion, spec)),
        model=champion.name,
        version=champion.version,
        base=champion.base.uri,
        rank=champion.adapter.rank,
        customer_pool=pool,
    ).model_dump(mode="json")


def _read_at(settings: Settings, db: Database, champion: ModelVersion) -> datetime:
    """When the champion's run read its rows: what was served while it trained is new to it.

    One machine records its runs in the database; on a cluster the folders of the run's jobs say it. A version from
    elsewhere is as old as its registration.
    """
    name = champion.lineage.pipeline_run
    made_by = RunStore(db, SystemClock()).get(name)
    if made_by is not None:
        return made_by.started_at
    for step in ("new-rows", "prepare"):  # the first step of a retraining, and of a first training
        outcome = JobFolder(folder_uri(settings.artifacts_uri, f"{name}/{step}")).succeeded()
        if outcome is not None and outcome.began is not None:
            return outcome.began
    return champion.created_at


def _customer_pool(settings: Settings, db: Database, registry: MlflowRegistry, champion: ModelVersion) -> int:
    """For how many customers the champion's run invented profiles; a retraining's took its own champion's."""
    version: ModelVersion | None = champion
    for _ in range(_LONGEST_LINE):
        if version is None:
            break
        name = version.lineage.pipeline_run
        featured = JobFolder(folder_uri(settings.artifacts_uri, f"{name}/features")).spec()
        made_by = RunStore(db, SystemClock()).get(name)
        params = featured.payload if featured is not None else made_by.params if made_by is not None else {}
        pool = int(params.get("customer_pool", 0))
        if pool >= 0:
            return pool
        parent = version.lineage.parent_version
        version = registry.get(version.name, parent) if parent is not None else None
    return 0


def _replay(settings: Settings, champion: ModelVersion, spec: NewRowsSpec) -> list[dict[str, Any]]:
    """The champion's own rows: what it learned from stays train, what it was tested on stays test."""
    folder = storage.join(settings.artifacts_uri, "runs", champion.lineage.pipeline_run, "prepare")
    manifest = storage.join(folder, "manifest.json")
    if not storage.exists(manifest):
        return []
    invented = DataManifest.model_validate_json(storage.read_bytes(manifest)).synthetic_columns
    caps = {"train": spec.replay_rows_per_label, "test": spec.replay_test_rows_per_label}
    return [
        {
            "uri": storage.join(folder, f"{split}.parquet"),
            "format": "parquet",
            "mapping": MAPPING,
            "per_label_cap": cap,
            "split": split,
            "synthetic": list(invented),
        }
        for split, cap in caps.items()
        if cap
    ]
