"""The real model, real adapters, and one engine on a Ray of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.engines.catalog import render
from tests.devices import DEVICES
from tests.integration.engines.adapters import slot, write_adapter
from tests.integration.engines.platform import ray_head, serve_applications, until
from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.serve_engines import ServeEngines, engines_from_settings
from tidegate.errors import Unavailable
from tidegate.ports import AdapterSlot, EngineStatus
from tidegate.settings import Settings, load_settings

BASE = "smollm2-135m-instruct"
RUNTIME = "smollm2"
SPEC: dict[str, Any] = {
    "baseModel": {"uri": f"builtin:{BASE}"},
    "engine": {"maxAdapters": 4, "maxAdapterRank": 16, "maxModelLength": 512},
}


@pytest.fixture(scope="session")
def base_folder() -> Path:
    """The base model as safetensors; converted on the machine's first run."""
    return resolve_base_model(f"builtin:{BASE}", load_settings().cache).folder


@pytest.fixture(scope="session")
def slots(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdapterSlot, ...]:
    """Three adapters, one of another rank, whose answers to "hello" differ by more than bfloat16 blurs: the first
    tokens lead by 1.1 (float32 logits), and bfloat16 resolves 1/8 there."""
    folder = tmp_path_factory.mktemp("adapters")
    ranks = (8, 16, 8)
    return tuple(
        slot(f"banking-intent/{number}", write_adapter(folder / str(number), seed=number, rank=rank, spread=0.08), rank)
        for number, rank in enumerate(ranks, 1)
    )


@dataclass(frozen=True)
class Engine:
    """A running engine and the port that declared it."""

    port: ServeEngines
    settings: Settings
    url: str
    spec: dict[str, Any]

    def declare(self, *adapters: AdapterSlot) -> None:
        self.port.ensure(RUNTIME, self.spec, adapters)

    def declare_and_wait(self, *adapters: AdapterSlot) -> None:
        self.declare(*adapters)
        self.wait()

    def wait(self) -> None:
        until("the engine is ready", self.ready, seconds=300)

    def ready(self) -> bool:
        status = self.status()
        return status is not None and status.ready

    def gone(self, adapter: str) -> bool:
        """Whether the engine is known to hold this adapter no more."""
        status = self.status()
        return status is not None and adapter not in status.adapters

    def message(self) -> str:
        status = self.status()
        return status.message if status is not None else ""

    def status(self) -> EngineStatus | None:
        """None while a replica does not answer: what it holds is not known then."""
        try:
            return self.port.status(RUNTIME)
        except Unavailable:
            return None

    def known(self) -> EngineStatus:
        """Its status, once a replica answers."""
        return until("a replica answers", self.status, seconds=60)

    def replica(self) -> tuple[str, int]:
        """(replica id, process id) of the only replica."""
        (replica,) = (
            replica
            for deployment in self.application()["deployments"].values()
            for replica in deployment["replicas"]
            if replica["state"] == "RUNNING"
        )
        return replica["replica_id"], replica["pid"]

    def application(self) -> dict[str, Any]:
        """What Ray Serve says of it."""
        found: dict[str, Any] = serve_applications(self.settings).json()["applications"][RUNTIME]
        return found

    def requests(self) -> int:
        """Requests under way in the replica."""
        count: int = httpx.get(f"{self.url}/status", timeout=60).json()["requests"]
        return count


@pytest.fixture(scope="session", params=DEVICES)
def engine(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    base_folder: Path,
    slots: tuple[AdapterSlot, ...],
) -> Iterator[Engine]:
    """The transformers engine with the first two adapters."""
    del base_folder  # converted before Ray starts: a conversion is not part of a replica's start
    gpus = int(request.param == "cuda")
    with ray_head(tmp_path_factory.mktemp("home"), gpus=gpus) as settings:
        port = engines_from_settings(settings, render)
        spec = SPEC | {"placement": {"gpusPerReplica": gpus}}
        port.ensure(RUNTIME, spec, slots[:2])
        running = Engine(port, settings, f"{settings.engine_url}/runtimes/{RUNTIME}", spec)
        running.wait()
        yield running
