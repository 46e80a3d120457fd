"""A real MLflow server as a process."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import httpx

from tests.ports import free_port
from tidegate.adapters.mlflow_server import mlflow_server


class Server:
    """An MLflow server on a free port that can be stopped and started again on the same state."""

    def __init__(self, home: Path, *, workers: int = 1) -> None:
        self._home = home
        self._workers = workers
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = mlflow_server(self._home, self.port, workers=self._workers)
        log = (self._home / "mlflow.log").open("ab")
        self._process = subprocess.Popen(
            command.argv, env={**os.environ, **command.env}, stdout=log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + 300
        while True:
            try:
                if httpx.get(command.health_url, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
            assert self._process.poll() is None, (self._home / "mlflow.log").read_text()
            assert time.monotonic() < deadline, (self._home / "mlflow.log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None
