"""The registry port on MLflow. A version is visible once it is whole, and carries everything it is made of.

Registration takes no lock, and works on every database that MLflow takes: versions are numbered in the order in which
their rows are committed, so of all versions that carry one key the lowest number is the one. Whoever finds a lower
one than its own removes its own. The tag `tidegate.ready` is set last; without it a version is not there for readers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidegate.adapters import storage
from tidegate.adapters.mlflow_rest import MlflowError, MlflowRest, as_tidegate_error
from tidegate.domain.version import ModelVersion
from tidegate.errors import ContractBroken, InvalidInput, NotFound
from tidegate.ids import digest_json

KEY_TAG = "tidegate.run-key"
READY_TAG = "tidegate.ready"
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""What MLflow says of a name, number or alias that it does not have, or that none can be."""
ADAPTER_PATH = "artifacts/adapter"
VERSION_PATH = "artifacts/tidegate/version.json"
UNASSIGNED = "unassigned"
"""`version` of a ModelVersion that the registry has not numbered yet."""

_MODEL_LOCATION = re.compile(r"^(?P<location>.*/models/(?P<model_id>m-[0-9a-f]+)/artifacts)/artifacts/adapter/?$")


class MlflowRegistry:
    """Implements `tidegate.ports.Registry`.

    Args:
        uri: the MLflow server.
        cache: folder in which the documents of versions are kept; versions never change, so the copies stay true.
    """

    def __init__(self, uri: str, *, cache: Path, patience: float = 20.0, rest: MlflowRest | None = None) -> None:
        self._rest = rest or MlflowRest(uri, patience=patience)
        self._documents = cache / "versions"

    # --- reads --------------------------------------------------------------------------------------------------

    def get(self, name: str, version: str) -> ModelVersion:
        """The version.

        Raises:
            NotFound: there is no such name or no such (whole) version; the error lists those that there are.
            ContractBroken: its document does not read as a ModelVersion.
        """
        found = self._read(f"version {version} of {name}", "/model-versions/get", name=name, version=version)
        if found is None or not _is_ready(found["model_version"]):
            raise self._missing(name, version)
        return self._document(found["model_version"])

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """All whole versions of a name, oldest first; none for a name that does not exist."""
        rows = [row for row in self._rows(name) if _is_ready(row)]
        return [self._document(row) for row in rows]

    def names(self) -> list[str]:
        """The registered model names, sorted."""
        return sorted(row["name"] for row in self._rest.pages("/registered-models/search", "registered_models"))

    def aliases(self, name: str) -> dict[str, str]:
        """Alias to version number; empty for a name that does not exist."""
        found = self._read(f"model {name}", "/registered-models/get", name=name)
        aliases = found["registered_model"].get("aliases", ()) if found is not None else ()
        return {item["alias"]: str(item["version"]) for item in aliases}

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias names; None without the name, the alias or a whole version behind it."""
        found = self._read(f"alias {alias} of {name}", "/registered-models/alias", name=name, alias=alias)
        if found is None or not _is_ready(found["model_version"]):
            return None
        return self._document(found["model_version"])

    def by_key(self, name: str, idempotency_key: str) -> ModelVersion | None:
        """The whole version that carries a run's key."""
        rows = [row for row in self._rows(name, idempotency_key) if _is_ready(row)]
        return self._document(rows[0]) if rows else None

    def tags(self, name: str, version: str) -> dict[str, str]:
        """All tags of a version."""
        try:
            return _tags(self._rest.get("/model-versions/get", name=name, version=version)["model_version"])
        except MlflowError:
            raise self._missing(name, version) from None

    def _read(self, what: str, path: str, **asked: Any) -> dict[str, Any] | None:
        """None when it is not there; what may not be read is not that."""
        try:
            return self._rest.get(path, **asked)
        except MlflowError as error:
            if error.code in _ABSENT:
                return None
            raise as_tidegate_error(error, what) from None

    # --- writes -------------------------------------------------------------------------------------------------

    def register(self, version: ModelVersion, *, run_id: str, idempotency_key: str) -> ModelVersion:
        """Creates the version, or returns the one that carries the key already.

        Its files must lie in a logged model (`mlflow_models.log_version`): `adapter.uri` is `ADAPTER_PATH` below the
        logged model's artifacts, and `VERSION_PATH` holds the same document. The number is assigned here.

        Raises:
            InvalidInput: the files do not lie in a logged model.
            Unavailable: MLflow does not answer; running the same again is safe.
        """
        place = _MODEL_LOCATION.match(version.adapter.uri)
        if place is None:
            raise InvalidInput(
                f"adapter {version.adapter.uri} does not lie in a logged model of MLflow",
                next_step="Log the version first: tidegate.adapters.mlflow_models.log_version.",
            )
        self._ensure_name(version.name)
        row = self._rest.retrying(
            lambda: self._find_or_create(
                version, run_id, idempotency_key, source=place["location"], model_id=place["model_id"]
            )
        )
        lowest = self._rows(version.name, idempotency_key)[0]
        if lowest["version"] != row["version"]:
            self._rest.send("DELETE", "/model-versions/delete", name=version.name, version=row["version"])
        # Its files were whole before the row was made, so whoever comes first may say so, not only its maker.
        self.set_tag(version.name, str(lowest["version"]), READY_TAG, "true")
        return self._document(lowest)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Points an alias at a version.

        Raises:
            NotFound: there is no such version.
        """
        self.get(name, version)
        try:
            self._rest.post("/registered-models/alias", name=name, alias=alias, version=version)
        except MlflowError as error:
            raise as_tidegate_error(error, f"alias {alias} of {name}/{version}") from None

    def set_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Sets a tag of a version."""
        try:
            self._rest.post("/model-versions/set-tag", name=name, version=version, key=key, value=value)
        except MlflowError as error:
            raise as_tidegate_error(error, f"tag {key} of {name}/{version}") from None

    # --- inside -------------------------------------------------------------------------------------------------

    def _find_or_create(
        self, version: ModelVersion, run_id: str, key: str, *, source: str, model_id: str
    ) -> dict[str, Any]:
        """Looks again before every attempt: a create that timed out may have happened."""
        found = self._rows(version.name, key)
        if found:
            return found[0]
        try:
            created = self._rest.once(
                "POST",
                "/model-versions/create",
                json={
                    "name": version.name,
                    "source": source,
                    "model_id": model_id,
                    "run_id": run_id,
                    "description": f"{version.base.name}, data {version.lineage.data_digest[7:19]}, "
                    f"run {version.lineage.pipeline_run}",
                    "tags": [{"key": name, "value": value} for name, value in _version_tags(version, key).items()],
                },
            )
        except MlflowError as error:
            raise as_tidegate_error(error, f"a version of {version.name}") from None
        row: dict[str, Any] = created["model_version"]
        return row

    def _ensure_name(self, name: str) -> None:
        try:
            self._rest.post("/registered-models/create", name=name)
        except MlflowError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise as_tidegate_error(error, f"registered model {name}") from None

    def _rows(self, name: str, key: str | None = None) -> list[dict[str, Any]]:
        """MLflow's rows of a name (and key), lowest version first."""
        condition = f"name='{_quoted(name)}'"
        if key is not None:
            condition += f" and tags.`{KEY_TAG}`='{_quoted(key)}'"
        rows = self._rest.pages("/model-versions/search", "model_versions", filter=condition)
        return sorted(rows, key=lambda row: int(row["version"]))

    def _document(self, row: dict[str, Any]) -> ModelVersion:
        source = str(row["source"])
        kept = self._documents / f"{digest_json([source, str(row['version'])])[7:39]}.json"
        try:
            return ModelVersion.model_validate_json(kept.read_bytes())
        except (OSError, ValidationError):
            pass
        uri = storage.join(source, VERSION_PATH)
        try:
            document = ModelVersion.model_validate_json(storage.read_bytes(uri))
        except ValidationError as error:
            raise ContractBroken(
                f"{uri} is not the document of a version: {error.error_count()} errors",
                next_step="Register the model again; the version was written by another release or changed by hand.",
            ) from None
        document = document.model_copy(update={"version": str(row["version"])})
        storage.write_bytes(str(kept), document.model_dump_json().encode())
        return document

    def _missing(self, name: str, version: str) -> NotFound:
        numbers = [str(row["version"]) for row in self._rows(name) if _is_ready(row)]
        if numbers:
            return NotFound(
                f"{name} has no version {version!r}", next_step=f"Its versions are {', '.join(numbers[-10:])}."
            )
        names = ", ".join(self.names()) or "none yet"
        return NotFound(f"no version of {name!r} is registered", next_step=f"Registered names: {names}.")


def _is_ready(row: dict[str, Any]) -> bool:
    return _tags(row).get(READY_TAG) == "true"


def _tags(row: dict[str, Any]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in row.get("tags", ())}


def _version_tags(version: ModelVersion, key: str) -> dict[str, str]:
    """What can be searched for in MLflow's page. `READY_TAG` is not among them: it comes last."""
    tags = {
        KEY_TAG: key,
        "tidegate.base-digest": version.base.digest,
        "tidegate.adapter-digest": version.adapter.digest,
        "tidegate.data-digest": version.lineage.data_digest,
        "tidegate.commit": version.lineage.commit,
        "tidegate.pipeline-run": version.lineage.pipeline_run,
        "tidegate.gate": "passed" if version.report.gate.passed else "overridden",
    }
    if version.lineage.trigger:
        tags["tidegate.trigger"] = version.lineage.trigger
    if version.lineage.parent_version:
        tags["tidegate.parent"] = version.lineage.parent_version
    return tags


def _quoted(text: str) -> str:
    """A text inside the quotes of MLflow's filter language, which knows no escape for a quote."""
    if "'" in text or "`" in text:
        raise InvalidInput(f"{text!r} contains a quote", next_step="Use letters, digits, '-', '_', '.', '/' and ':'.")
    return text
