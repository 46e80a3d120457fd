"""The transformers engine: a Ray Serve application that speaks OpenAI's API for a base model and its adapters.

serveConfigV2 names `serving.engines.transformers_app:build`; `args` are `EngineArgs`, the deployment's `user_config` is
`EngineConfig`. A change of the user config reaches a running replica in its process: adapters come and go while
requests run. Starting a replica costs what torch and transformers cost to import, plus the model (README of the engine:
docs/engines.md has figures).
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import platformdirs
import ray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import Response

from serving.engines.adapter_set import AdapterSet
from serving.engines.devices import check_room, device_name, generation_device, within_memory
from serving.engines.generator import AdapterGenerator
from serving.engines.loop import EngineLoop
from serving.engines.openai_api import OpenAIApi
from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.storage import local_path
from tidegate.logging import configure, get_logger
from tidegate.ports import AdapterSlot

DEPLOYMENT = "engine"


class EngineArgs(BaseModel):
    """What a replica is built with; a change replaces replicas.

    Args:
        base_uri: base model; `base_digest` is what its files must hash to, when given.
        base_model_id: model id of the bare base in the API.
        max_queue: requests that may wait for a place in the batch; more are answered 503.
        cache: folder for converted and downloaded models; default: TIDEGATE_CACHE, else the user's cache folder.
        threads: CPU threads of the arithmetic; default: all cores but one, which Serve's proxy and the gateway need.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_uri: str
    base_digest: str | None = None
    base_model_id: str
    max_model_length: PositiveInt = 512
    max_adapters: PositiveInt = 4
    max_adapter_rank: PositiveInt = 32
    max_batch_size: PositiveInt = 16
    max_queue: NonNegativeInt = 128
    cache: str | None = None
    threads: PositiveInt | None = None


class EngineConfig(BaseModel):
    """What may change while a replica runs: which adapters it holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapters: tuple[AdapterSlot, ...] = ()


class TransformersEngine:
    """One replica: the generator in its thread, the API in front of it."""

    def __init__(self, args: dict[str, Any]) -> None:
        configure("engine")
        start = time.monotonic()
        options = EngineArgs.model_validate(args)
        cache = _cache(options)
        _use_threads(options.threads)
        device = generation_device(len(ray.get_gpu_ids()), "this replica")  # those that Serve asked Ray for
        base = resolve_base_model(options.base_uri, cache, options.base_digest)
        with within_memory(f"the base model {options.base_uri}", "Take a GPU with more memory, or a smaller model."):
            generator = AdapterGenerator(
                base.folder,
                device=device,
                max_model_length=options.max_model_length,
                max_adapter_rank=options.max_adapter_rank,
                max_adapters=options.max_adapters,
                max_batch_size=options.max_batch_size,
            )
        check_room(  # found out now, not under the first load
            device,
            generator.cache_bytes,
            f"keys and values of {generator.max_batch_size} rows of {generator.max_model_length} tokens",
            "Lower maxBatchSize or maxModelLength in spec.engine of the ModelRuntime, or take a larger GPU.",
        )
        self._loop = EngineLoop(generator, max_queue=options.max_queue)
        self._adapters = AdapterSet(
            self._loop, fetch=lambda uri: local_path(uri, cache), max_rank=options.max_adapter_rank
        )
        self._api = OpenAIApi(
            self._loop,
            self._adapters,
            base_model=options.base_model_id,
            replica=serve.get_replica_context().replica_id.unique_id,
            max_model_length=generator.max_model_length,
        )
        self._reconciling: asyncio.Task[None] | None = None
        get_logger("engine").info(
            "a replica has its model",
            seconds=round(time.monotonic() - start, 1),
            pid=os.getpid(),
            device=device_name(device),
        )

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Declares the adapters.

        The first call, before the replica takes requests, waits for them: a replaced replica must not answer 404 for
        adapters that the others have. Later calls return at once and load meanwhile, since Serve sends a replica no
        requests while it reconfigures; `/status` tells how far it is.
        """
        wanted = EngineConfig.model_validate(user_config).adapters
        first = self._reconciling is None
        self._reconciling = asyncio.create_task(self._adapters.reconcile(wanted))
        if first:
            await self._reconciling

    async def __call__(self, request: Request) -> Response:
        return await self._api.handle(request)

    def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        if (failure := self._loop.failure) is not None:
            raise RuntimeError(failure)

    def __del__(self) -> None:
        if loop := getattr(self, "_loop", None):
            loop.stop()


def build(args: dict[str, Any]) -> Application:
    """The application of serveConfigV2: checks the arguments before a replica is started."""
    options = EngineArgs.model_validate(args)
    deployment = serve.deployment(TransformersEngine, name=DEPLOYMENT)
    return deployment.bind(options.model_dump(mode="json"))


def _cache(options: EngineArgs) -> Path:
    """What the runtime says, else the settings' own variable and default, which Ray's workers inherit."""
    told = options.cache or os.environ.get("TIDEGATE_CACHE")
    return Path(told).expanduser() if told else platformdirs.user_cache_path("tidegate", appauthor=False)


def _use_threads(threads: int | None) -> None:
    """Ray limits a worker to the cores it asked for (OMP_NUM_THREADS); an engine is told its own number."""
    import torch  # noqa: PLC0415  after the environment is read

    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) - 1))
