"""Starts, kills and talks to real receiver processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from monitoring.alerts.client import OwnAlert, webhook
from monitoring.alerts.tokens import load_or_create_token
from monitoring.retraining.policy import ACTION_LABEL
from tests.ports import free_port
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.store.alerts import AlertStore
from tidegate.store.retraining import RetrainStore

START = datetime(2026, 3, 1, tzinfo=UTC)


def wait_for(done: Callable[[], Any], seconds: float = 90.0, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.05)


@dataclass
class Home:
    """One state folder with its stores and any number of receivers."""

    path: Path

    def __post_init__(self) -> None:
        self.token = load_or_create_token(self.path / "secrets" / "receiver.token")
        self.database_url = f"sqlite:///{self.path / 'tidegate.db'}"
        self.db = Database.open(self.database_url)
        self.alerts = AlertStore(self.db, SystemClock())
        self.requests = RetrainStore(self.db, SystemClock())

    def trained(self) -> list[str]:
        """Keys of the runs whose command really ran, once for each time it ran."""
        file = self.path / "trained.txt"
        return file.read_text().split() if file.exists() else []

    def statuses(self) -> dict[str, str]:
        return {request.key: request.status for request in self.requests.list()}


class ReceiverProcess:
    """A receiver of its own process; `kill` is SIGKILL."""

    def __init__(self, home: Home, *, env: dict[str, str] | None = None) -> None:
        self._home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {
            **os.environ,
            "TIDEGATE_HOME": str(home.path),
            "TIDEGATE_RECEIVER_PORT": str(self.port),
            "TIDEGATE_INTERVALS__DISPATCHER_TICK": "0.1",
            "TIDEGATE_INTERVALS__LEASE_TTL": "2",
            **(env or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client()  # one for all: building a TLS context costs more than a request

    def start(self) -> ReceiverProcess:
        log = (self._home.path / f"receiver-{self.port}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.monitoring.receiver_main"], env=self._env, stdout=log, stderr=log
        )
        log.close()
        wait_for(self.ready, what="the receiver's /readyz")
        return self

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the receiver has ended; see its log"
        try:
            return self._client.get(f"{self.url}/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=60)

    def post(self, document: Any, *, token: str | None = None, timeout: float = 20.0) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self._home.token}"}
        content = document if isinstance(document, bytes) else None
        return self._client.post(
            f"{self.url}/v1/alerts/alertmanager",
            json=None if content is not None else document,
            content=content,
            headers=headers,
            timeout=timeout,
        )


def drift_alert(
    model: str = "banking-intent", *, start: datetime = START, resolved: bool = False, **labels: str
) -> Any:
    """A delivery that asks for a retraining of a model."""
    alert = OwnAlert(labels={"alertname": "ModelDrift", "model": model, ACTION_LABEL: "retrain"} | labels)
    return webhook(alert, starts_at=start, ends_at=datetime.now(UTC) if resolved else None)
