"""The catalog of engines: engine type of a ModelRuntime → the Ray Serve application that runs it.

Rendering is pure: the local profile sends the result to Ray's REST API, a cluster puts it into a RayService. A new
engine is a new entry here (docs/engines.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.domain.resources import ModelRuntimeSpec
from tidegate.errors import InvalidInput
from tidegate.ports import AdapterSlot

ENGINE_DEPLOYMENT = "engine"
"""Name of the Serve deployment that holds the adapters, in every engine's application."""
_MAX_QUEUE = 128
"""Requests per replica that wait for a place in the batch before the engine answers 503."""
_HEADROOM = 32
"""Requests above batch and queue that Serve still hands to a replica, so that the engine says 503 itself."""

Renderer = Callable[[str, ModelRuntimeSpec, Sequence[AdapterSlot]], dict[str, Any]]


def render(runtime: str, manifest: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> dict[str, Any]:
    """One application of serveConfigV2 (`ServeApplicationSchema`) for a runtime.

    Args:
        runtime: name of the ModelRuntime.
        manifest: its spec, in the manifest's spelling (or `ModelRuntimeSpec.model_dump()`).
        adapters: what its replicas shall hold.

    Raises:
        InvalidInput: no engine of that type is in the catalog, an adapter does not fit, or too many are wanted.
    """
    spec = ModelRuntimeSpec.model_validate(manifest)
    renderer = _ENGINES.get(spec.engine.type)
    if renderer is None:
        raise InvalidInput(
            f"ModelRuntime {runtime!r}: engine type {spec.engine.type} is not available in this release",
            next_step=f"Use one of {', '.join(sorted(_ENGINES))}; docs/engines.md says how an engine is added.",
        )
    _check(runtime, spec, adapters)
    return renderer(runtime, spec, adapters)


def route_prefix(runtime: str) -> str:
    """Where the runtime's API lies below the engines' address."""
    return f"/runtimes/{runtime}"


def _check(runtime: str, spec: ModelRuntimeSpec, adapters: Sequence[AdapterSlot]) -> None:
    engine = spec.engine
    if engine.quantization != "None" and engine.type == "Transformers":
        raise InvalidInput(
            f"ModelRuntime {runtime!r}: the Transformers engine has no quantization {engine.quantization}",
            next_step="Set spec.engine.quantization to None.",
        )
    if len({slot.id for slot in adapters}) != len(adapters):
        raise InvalidInput(f"ModelRuntime {runtime!r}: adapter ids repeat", next_step="Give each version one id.")
    if len(adapters) > engine.max_adapters:
        raise InvalidInput(
            f"ModelRuntime {runtime!r} takes {engine.max_adapters} adapters, {len(adapters)} are wanted: "
            + ", ".join(slot.id for slot in adapters),
            next_step="Raise spec.engine.maxAdapters, or finish a rollout first.",
        )
    for slot in adapters:
        if slot.rank > engine.max_adapter_rank:
            raise InvalidInput(
                f"adapter {slot.id!r} has rank {slot.rank}, ModelRuntime {runtime!r} takes {engine.max_adapter_rank}",
                next_step="Raise spec.engine.maxAdapterRank, or train with a lower rank.",
            )


def _transformers(runtime: str, spec: ModelRuntimeSpec, adapters: Sequence[AdapterSlot]) -> dict[str, Any]:
    engine, placement = spec.engine, spec.placement
    replicas: dict[str, Any] = {"num_replicas": placement.min_replicas}
    if placement.max_replicas > placement.min_replicas:
        replicas = {
            "autoscaling_config": {
                "min_replicas": placement.min_replicas,
                "max_replicas": placement.max_replicas,
                "target_ongoing_requests": engine.max_batch_size,
            }
        }
    return {
        "name": runtime,
        "route_prefix": route_prefix(runtime),
        "import_path": "serving.engines.transformers_app:build",
        "args": {
            "base_uri": spec.base_model.uri,
            "base_digest": spec.base_model.digest,
            "base_model_id": spec.base_model.uri.rstrip("/").replace(":", "/").rpartition("/")[2],
            "max_model_length": engine.max_model_length,
            "max_adapters": engine.max_adapters,
            "max_adapter_rank": engine.max_adapter_rank,
            "max_batch_size": engine.max_batch_size,
            "max_queue": _MAX_QUEUE,
        },
        "deployments": [
            {
                "name": ENGINE_DEPLOYMENT,
                **replicas,
                "max_ongoing_requests": engine.max_batch_size + _MAX_QUEUE + _HEADROOM,
                "health_check_period_s": 2,
                "health_check_timeout_s": 30,
                "graceful_shutdown_wait_loop_s": 1,
                "graceful_shutdown_timeout_s": 10,
                "ray_actor_options": {"num_cpus": 1, "num_gpus": placement.gpus_per_replica},
                "user_config": {"adapters": [slot.model_dump(mode="json") for slot in adapters]},
            }
        ],
    }


_ENGINES: dict[str, Renderer] = {"Transformers": _transformers}
