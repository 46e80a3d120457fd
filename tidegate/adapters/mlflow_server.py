"""The local MLflow server: SQLite for what is recorded, a folder for artifacts, 127.0.0.1 only."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

HEALTH_PATH = "/health"


@dataclass(frozen=True, kw_only=True)
class ServerCommand:
    """How to start a process: its arguments, and what to add to the environment."""

    argv: tuple[str, ...]
    env: dict[str, str]
    health_url: str


def mlflow_server(home: Path, port: int, *, workers: int = 1) -> ServerCommand:
    """The server of a state folder. Database and artifacts lie under `<home>/mlflow`, which is made.

    Artifacts are not proxied: whoever logs or loads a model reads and writes the folder itself, so an engine opens an
    adapter where it lies. A cluster's server is given an object store as its root the same way, and the addresses in
    the registry are then s3:// ones.
    """
    folder = home.absolute() / "mlflow"
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    argv = (
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--default-artifact-root",
        str(artifacts),
        "--no-serve-artifacts",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        str(workers),
    )
    return ServerCommand(argv=argv, env=mlflow_environment(), health_url=f"http://127.0.0.1:{port}{HEALTH_PATH}")


def mlflow_environment() -> dict[str, str]:
    """What every process that imports mlflow gets: no pickles, no telemetry, no helper processes."""
    return {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # Scheduled scorers and the like; without them the server is one process.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def apply_mlflow_environment() -> None:
    """Sets `mlflow_environment` in this process. Call it before mlflow is imported; what is set already stays."""
    for name, value in mlflow_environment().items():
        os.environ.setdefault(name, value)
    # Not a default but a rule: nothing here may unpickle a model.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
