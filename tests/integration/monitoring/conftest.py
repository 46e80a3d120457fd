"""Homes and receivers that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.monitoring.receiver import Home, ReceiverProcess

StartReceiver = Callable[..., ReceiverProcess]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    home.db.close()


@pytest.fixture
def start_receiver(home: Home) -> Iterator[StartReceiver]:
    started: list[ReceiverProcess] = []

    def start(**env: str) -> ReceiverProcess:
        receiver = ReceiverProcess(home, env=env)
        started.append(receiver)
        return receiver.start()

    yield start
    for receiver in started:
        if receiver.process is not None and receiver.process.poll() is None:
            receiver.kill()
