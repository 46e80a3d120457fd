"""Writes a logged model to MLflow: the run behind it, its files, its state. The registry then names it.

The server is spoken to through `MlflowRest` (bounded retries, clear errors); mlflow itself is imported only to write
the model's folder in its format.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.adapters import storage
from tidegate.adapters.mlflow_registry import KEY_TAG
from tidegate.adapters.mlflow_rest import MlflowError, MlflowRest, as_tidegate_error
from tidegate.adapters.mlflow_server import apply_mlflow_environment
from tidegate.prompt import GenerationDefaults

_MAX_PARAM_CHARACTERS = 6000
_READY = "LOGGED_MODEL_READY"
LEFTOVER_SECONDS = 3600
"""A logged model without files for so long belongs to a process that died: writing one takes under a minute."""
_BATCH = 100  # params per log-batch request (MLflow's limit)


@dataclass(frozen=True, kw_only=True)
class PendingModel:
    """A logged model that has no files yet. `location` is the address of the folder for them."""

    experiment_id: str
    run_id: str
    run_artifacts: str
    model_id: str
    location: str
    store: str
    """The artifact root of the server, where base models lie by digest."""


class MlflowModels:
    """Logged models of one MLflow server."""

    def __init__(self, uri: str, *, patience: float = 20.0, rest: MlflowRest | None = None) -> None:
        self.uri = uri
        self._rest = rest or MlflowRest(uri, patience=patience)

    def begin(self, experiment: str, *, key: str, run_name: str, tags: Mapping[str, str]) -> PendingModel:
        """A new logged model under the run of `key`; what earlier attempts of that key left behind is deleted.

        Raises:
            Unavailable: MLflow does not answer.
        """
        experiment_id, location = self._experiment(experiment)
        run = self._run(experiment_id, key, run_name, tags)
        self._delete_leftovers(experiment_id, key)
        model = self._rest.post(
            "/logged-models",
            experiment_id=experiment_id,
            name="model",
            model_type="tidegate",
            source_run_id=run["run_id"],
            tags=[{"key": KEY_TAG, "value": key}],
        )["model"]["info"]
        return PendingModel(
            experiment_id=experiment_id,
            run_id=run["run_id"],
            run_artifacts=run["artifact_uri"],
            model_id=model["model_id"],
            location=model["artifact_uri"],
            store=location.rstrip("/").rsplit("/", 1)[0],
        )

    def record(self, pending: PendingModel, *, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Parameters and metrics of the run; the metrics are the logged model's as well."""
        items = [{"key": k, "value": str(v)[:_MAX_PARAM_CHARACTERS]} for k, v in params.items()]
        now = int(time.time() * 1000)
        values = [
            {"key": k, "value": v, "timestamp": now, "step": 0, "model_id": pending.model_id}
            for k, v in metrics.items()
        ]
        for start in range(0, max(len(items), 1), _BATCH):
            self._rest.post(
                "/runs/log-batch",
                run_id=pending.run_id,
                params=items[start : start + _BATCH],
                metrics=values if start == 0 else [],
            )

    def attach(self, pending: PendingModel, files: Mapping[str, bytes]) -> None:
        """Files of the run, to be read in MLflow's page."""
        for name, content in files.items():
            storage.write_bytes(storage.join(pending.run_artifacts, name), content)

    def publish(self, pending: PendingModel, folder: Path) -> None:
        """Copies the model's folder to its place and declares both model and run finished."""
        storage.copy_tree(str(folder), pending.location)
        self._rest.send("PATCH", f"/logged-models/{pending.model_id}", model_id=pending.model_id, status=_READY)
        self._rest.post("/runs/update", run_id=pending.run_id, status="FINISHED", end_time=int(time.time() * 1000))

    def discard(self, pending: PendingModel) -> None:
        """Deletes a logged model that nobody will name."""
        self._rest.send("DELETE", f"/logged-models/{pending.model_id}")

    def _experiment(self, name: str) -> tuple[str, str]:
        for _ in range(2):  # a second look: another process may have created it in between
            try:
                found = self._rest.get("/experiments/get-by-name", experiment_name=name)["experiment"]
            except MlflowError as error:
                if error.code != "RESOURCE_DOES_NOT_EXIST":
                    raise as_tidegate_error(error, f"experiment {name}") from None
                try:
                    self._rest.post("/experiments/create", name=name)
                except MlflowError as refused:
                    if refused.code != "RESOURCE_ALREADY_EXISTS":
                        raise as_tidegate_error(refused, f"experiment {name}") from None
            else:
                return found["experiment_id"], found["artifact_location"]
        found = self._rest.get("/experiments/get-by-name", experiment_name=name)["experiment"]
        return found["experiment_id"], found["artifact_location"]

    def _run(self, experiment_id: str, key: str, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
        found = self._rest.post(
            "/runs/search", experiment_ids=[experiment_id], filter=f"tags.`{KEY_TAG}` = '{key}'", max_results=1
        ).get("runs", [])
        if found:
            info: dict[str, Any] = found[0]["info"]
            return info
        all_tags = {**tags, KEY_TAG: key, "mlflow.runName": name}
        created = self._rest.post(
            "/runs/create",
            experiment_id=experiment_id,
            start_time=int(time.time() * 1000),
            tags=[{"key": k, "value": v} for k, v in all_tags.items()],
        )
        made: dict[str, Any] = created["run"]["info"]
        return made

    def _delete_leftovers(self, experiment_id: str, key: str) -> None:
        """Models of this key that never became whole, and whose maker must have died: they are old."""
        found = self._rest.post(
            "/logged-models/search", experiment_ids=[experiment_id], filter=f"tags.`{KEY_TAG}` = '{key}'"
        ).get("models", [])
        oldest = int(time.time() * 1000) - LEFTOVER_SECONDS * 1000
        for model in found:
            info = model["info"]
            if info.get("status") != _READY and int(info["creation_timestamp_ms"]) < oldest:
                self._rest.send("DELETE", f"/logged-models/{info['model_id']}")


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """What a model's folder is made of.

    `features` are optional columns of input beside `text` and `messages`; `example` is one row of input;
    `requirements` are pins; `metadata` goes into the MLmodel file.
    """

    code_file: Path
    artifacts: Mapping[str, Path]
    features: Sequence[str]
    generation: GenerationDefaults
    example: Mapping[str, Any]
    requirements: Sequence[str]
    metadata: Mapping[str, str]


def write_model_folder(folder: Path, pending: PendingModel, parts: ModelParts) -> None:
    """The model's folder in MLflow's pyfunc format (models from code): signature, input example, pins."""
    apply_mlflow_environment()
    import mlflow.pyfunc  # noqa: PLC0415  4 s
    import pandas as pd  # noqa: PLC0415
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema  # noqa: PLC0415
    from mlflow.types.schema import AnyType, Array, Object, Property  # noqa: PLC0415

    turn = Object([Property("role", DataType.string), Property("content", DataType.string)])
    inputs = [
        ColSpec(DataType.string, "text", required=False),
        ColSpec(Array(turn), "messages", required=False),
        *(ColSpec(AnyType(), name, required=False) for name in parts.features),
    ]
    signature = ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("max_tokens", DataType.long, parts.generation.max_tokens),
                ParamSpec("temperature", DataType.double, parts.generation.temperature),
            ]
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on type hints and optional columns
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(parts.code_file),
            artifacts={name: str(path) for name, path in parts.artifacts.items()},
            signature=signature,
            input_example=pd.DataFrame([dict(parts.example)]),
            pip_requirements=list(parts.requirements),
            metadata=dict(parts.metadata),
            mlflow_model=Model(
                artifact_path=pending.location,
                model_uuid=pending.model_id,
                run_id=pending.run_id,
                model_id=pending.model_id,
                metadata=dict(parts.metadata),
            ),
        )


def load_model(folder: str) -> Any:
    """The pyfunc model of a folder or model address; checks itself while loading (components/register/model.py)."""
    apply_mlflow_environment()
    import mlflow.pyfunc  # noqa: PLC0415

    return mlflow.pyfunc.load_model(folder)
