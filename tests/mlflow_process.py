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
    """An MLflow server on a free port that can be stopped and started again on the same state.

    Args:
        login: the password of its user `admin`, where it asks for one (MLflow's app `basic-auth`); what others may is
            nothing.
    """

    def __init__(self, home: Path, *, workers: int = 1, login: str = "") -> None:
        self._home = home
        self._workers = workers
        self._login = login
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = mlflow_server(self._home, self.port, workers=self._workers)
        log = (self._home / "mlflow.log").open("ab")
        asked, environment = self._asked() if self._login else ((), {})
        self._process = subprocess.Popen(
            (*command.argv, *asked),
            env={**os.environ, **command.env, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
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

    def _asked(self) -> tuple[tuple[str, ...], dict[str, str]]:
        configuration = self._home / "login.ini"
        configuration.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n"
            f"database_uri = sqlite:///{self._home / 'login.db'}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        return ("--app-name", "basic-auth"), {
            "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self._login,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of a test",
        }

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None
