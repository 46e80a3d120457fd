"""Runs in a pod: trains the tests' adapters and registers each as a version in the MLflow of the installation.

python -m tests.cluster.train_versions FOLDER        prints {"good": "1", "same": "2", "bad": "3"}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.model_versions import Versions, make_adapters
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.settings import load_settings


def main(folder: Path) -> None:
    settings = load_settings()
    versions = Versions(
        registry=MlflowRegistry(settings.mlflow_uri, cache=settings.cache),
        mlflow_uri=settings.mlflow_uri,
        key=settings.attestation_key_path,
        adapters=make_adapters(folder, settings.mlflow_uri),
    )
    print(json.dumps({name: versions.register(name) for name in ("good", "same", "bad")}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
