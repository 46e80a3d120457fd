"""One of several processes that register at once: `python -m … uri cache name number` prints {key: version}."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.integration.registry.documents import version_document
from tidegate.adapters import storage
from tidegate.adapters.mlflow_models import MlflowModels
from tidegate.adapters.mlflow_registry import ADAPTER_PATH, VERSION_PATH, MlflowRegistry
from tidegate.domain.version import ModelVersion

KEYS, SHARED = 5, 2


def bare_version(uri: str, name: str, key: str) -> tuple[ModelVersion, str]:
    """A logged model with nothing but its document, ready to be registered; and its run."""
    pending = MlflowModels(uri).begin(name, key=key, run_name=key, tags={})
    version = version_document(name=name, adapter_uri=storage.join(pending.location, ADAPTER_PATH))
    storage.write_bytes(storage.join(pending.location, VERSION_PATH), version.model_dump_json().encode())
    return version, pending.run_id


def main() -> None:
    uri, cache, name, number = sys.argv[1:]
    registry = MlflowRegistry(uri, cache=Path(cache), patience=60.0)
    made = {}
    for index in range(KEYS):
        key = f"shared-{index}" if index < SHARED else f"own-{number}-{index}"
        version, run_id = bare_version(uri, name, key)
        made[key] = registry.register(version, run_id=run_id, idempotency_key=key).version
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main()
