"""A real gateway process over a real store, in front of an engine stand-in that can fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.integration.gateway.engine import EngineBehaviour, running_engine
from tests.ports import free_port
from tests.unit.gateway.tables import MODEL, table
from tidegate.api_keys import ensure_default_keys
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.routing import RoutingTable
from tidegate.settings import load_settings
from tidegate.store.evidence import EvidenceStore
from tidegate.store.routing import RoutingStore


@dataclass
class Platform:
    """One gateway process and what stands around it."""

    home: Path
    url: str
    engine_url: str
    engine: EngineBehaviour
    key: str
    label_key: str
    routing: RoutingStore
    evidence: EvidenceStore
    env: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    epoch: int = 0

    def start(self) -> None:
        out = (self.home / "gateway.log").open("ab")
        self.process = subprocess.Popen([sys.executable, "-m", "serving.gateway"], env=self.env, stdout=out, stderr=out)
        out.close()
        self.wait(lambda: self.process.poll() is not None or _answers(f"{self.url}/healthz"))
        assert self.process.poll() is None, (self.home / "gateway.log").read_text()

    def stop(self, *, kill: bool = False) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        return self.process.wait(timeout=60)

    def route(self, *, wait: bool = True, **options: Any) -> RoutingTable:
        """Publishes the next epoch and waits until the gateway has acknowledged it."""
        self.epoch += 1
        new = table(self.engine_url, epoch=self.epoch, **options)
        self.routing.publish(new)
        if wait:
            self.wait(lambda: self.epoch in self.routing.acks(MODEL).values())
        return new

    def client(self, **options: Any) -> openai.OpenAI:
        given: dict[str, Any] = {"base_url": f"{self.url}/v1", "api_key": self.key, "max_retries": 0}
        return openai.OpenAI(**(given | options))

    def post(self, path: str = "/v1/chat/completions", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return httpx.post(f"{self.url}{path}", headers=headers, timeout=30, **options)

    def ask(self, text: str = "where is my card?", **options: Any) -> httpx.Response:
        return self.post(json={"model": MODEL, "messages": [{"role": "user", "content": text}]} | options)

    def metric(self, name: str) -> float:
        """The sum over a metric's labels."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    @staticmethod
    def wait(condition: Callable[[], bool], seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code < 500
    except httpx.HTTPError:
        return False


def make_platform(home: Path, engine_url: str, behaviour: EngineBehaviour, **env: str) -> Platform:
    port = free_port()
    variables = os.environ | {
        "TIDEGATE_HOME": str(home),
        "TIDEGATE_GATEWAY_PORT": str(port),
        "TIDEGATE_INTERVALS__ROUTING_POLL": "0.05",
        "TIDEGATE_INFERENCE_LOG__FLUSH_SECONDS": "0.2",
        "TIDEGATE_LIMITS__MAX_BODY_BYTES": "65536",
        **env,
    }
    settings = load_settings(home)
    keys = ensure_default_keys(settings.api_keys_path)
    db = Database.open(settings.database_url)
    return Platform(
        home=home,
        url=f"http://127.0.0.1:{port}",
        engine_url=engine_url,
        engine=behaviour,
        key=keys["app"],
        label_key=keys["labeller"],
        routing=RoutingStore(db, SystemClock()),
        evidence=EvidenceStore(db, SystemClock()),
        env=variables,
    )


@pytest.fixture(scope="module")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One process for a module: a start costs a second."""
    behaviour = EngineBehaviour()
    with running_engine(behaviour) as engine_url:
        platform = make_platform(tmp_path_factory.mktemp("home"), engine_url, behaviour)
        platform.start()
        platform.route()
        try:
            yield platform
        finally:
            platform.stop()


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The shared process with a well-behaved engine and a plain table."""
    behaviour = shared_platform.engine
    behaviour.modes.clear()
    behaviour.answers.clear()
    behaviour.asked.clear()
    behaviour.held, behaviour.fail_first = False, 0
    shared_platform.route()
    return shared_platform


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """Makes platforms of their own, not yet started, for tests that stop processes."""
    made: list[Platform] = []
    behaviour = EngineBehaviour()
    with running_engine(behaviour) as engine_url:

        def make(**env: str) -> Platform:
            made.append(make_platform(tmp_path, engine_url, behaviour, **env))
            return made[-1]

        yield make
        for platform in made:
            if hasattr(platform, "process"):
                platform.stop(kill=True)
