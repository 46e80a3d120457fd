"""What a retraining starts from: the new labelled rows, a replay of the champion's rows, and its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.retraining.rows import export_new_rows
from tidegate.adapters import storage
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.drift import RetrainRequest
from tidegate.domain.manifest import DataManifest
from tidegate.domain.version import ModelVersion
from tidegate.errors import InvalidInput, NotFound
from tidegate.settings import Settings
from tidegate.store.resources import ResourceStore
from tidegate.store.retraining import RetrainStore
from tidegate.store.runs import Run, RunStore

_MAPPING = {"text": "text", "label": "label", "group": "group", "event_time": "event_time"}
_REPLAY_ROWS_PER_LABEL = 25
"""Enough of each known answer that learning new ones does not unlearn it, few enough that the new rows lead."""
_REPLAY_TEST_ROWS_PER_LABEL = 6
_NEW_TEST_FRACTION = 0.3
"""Of the new rows: they are few, and the gate must see enough of what changed."""
_MIN_NEW_ROWS = 60
_STEPS = 36
_LEARNING_RATE = 2e-3
_EVAL_ROWS = 100


def find_request(settings: Settings, key: str) -> RetrainRequest:
    """The request of this key.

    Raises:
        NotFound: there is none.
    """
    request = RetrainStore(Database.open(settings.database_url), SystemClock()).get(key)
    if request is None:
        raise NotFound(f"retraining request {key!r} does not exist", next_step="See `tidegate alerts retrainings`.")
    return request


def run_name(request: RetrainRequest) -> str:
    """The run of the request's current attempt: its key, with a number after the first."""
    return request.key if request.attempts == 0 else f"{request.key}.{request.attempts + 1}"


def retrain_arguments(
    settings: Settings, request: RetrainRequest, *, customer_pool: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Parameters of the pipeline `retrain` for a request; writes the new rows to the artifact folder.

    Args:
        customer_pool: see the features step; None takes what the champion's run had.

    Raises:
        InvalidInput: the request names no deployment, or there are too few new labelled rows.
        NotFound: nothing serves for the deployment.
    """
    if request.deployment is None:
        raise InvalidInput(
            f"retraining request {request.key} names no deployment",
            next_step="Give the alert a label 'deployment'; the new rows are those of its traffic.",
        )
    champion = _champion(settings, request.model, request.deployment)
    made_by = RunStore(Database.open(settings.database_url), SystemClock()).get(champion.lineage.pipeline_run)
    name = run_name(request)
    rows = Path(settings.artifacts_uri) / "runs" / name / "new_rows.jsonl"
    export_new_rows(request.deployment, _since(champion, made_by), rows, _MIN_NEW_ROWS, settings=settings)
    return {
        "data": str(rows),
        "data_format": "jsonl",
        "column_mapping": _MAPPING,
        "extra_sources": _replay(settings, champion),
        "test_fraction": _NEW_TEST_FRACTION,
        "customer_pool": _pool(made_by) if customer_pool is None else customer_pool,
        "model_name": request.model,
        "base_model": champion.base.uri,
        "start_from": champion.key,
        "champion": champion.key,
        "parent_version": champion.version,
        "rank": champion.adapter.rank,
        "max_steps": _STEPS,
        "eval_max_rows": _EVAL_ROWS,
        "learning_rate": _LEARNING_RATE,
        "trigger": request.key,
        "run_name": name,
        "seed": seed,
    }


def _champion(settings: Settings, model: str, deployment: str) -> ModelVersion:
    stored = ResourceStore(Database.open(settings.database_url), SystemClock()).get("ModelDeployment", deployment)
    stable = stored.status.get("stable") if stored is not None else None
    if stable is None:
        raise NotFound(
            f"no version serves for deployment {deployment!r}",
            next_step="See `tidegate status`; there is nothing to retrain.",
        )
    return MlflowRegistry(settings.mlflow_uri, cache=settings.cache).get(model, str(stable))


def _pool(made_by: Run | None) -> int:
    return int(made_by.params.get("customer_pool", 0)) if made_by is not None else 0


def _since(champion: ModelVersion, made_by: Run | None) -> datetime:
    """New is what came since the champion's run read its rows; what was served while it trained is new to it."""
    return made_by.started_at if made_by is not None else champion.created_at


def _replay(settings: Settings, champion: ModelVersion) -> list[Mapping[str, Any]]:
    """The champion's own rows: what it learned from stays train, what it was tested on stays test."""
    folder = storage.join(settings.artifacts_uri, "runs", champion.lineage.pipeline_run, "prepare")
    manifest = storage.join(folder, "manifest.json")
    if not storage.exists(manifest):
        return []
    invented = DataManifest.model_validate_json(storage.read_bytes(manifest)).synthetic_columns
    caps = {"train": _REPLAY_ROWS_PER_LABEL, "test": _REPLAY_TEST_ROWS_PER_LABEL}
    return [
        {
            "uri": storage.join(folder, f"{split}.parquet"),
            "format": "parquet",
            "mapping": _MAPPING,
            "per_label_cap": cap,
            "split": split,
            "synthetic": list(invented),
        }
        for split, cap in caps.items()
    ]
