"""Ports: what the planes need from the world. Adapters in `tidegate.adapters` implement them per profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import Field

from tidegate.domain.base import Contract, UtcTime
from tidegate.domain.drift import RetrainRequest
from tidegate.domain.version import ModelVersion
from tidegate.prompt import FeatureValue

# --- compute --------------------------------------------------------------------------------------------------------

ComputePool = Literal["data", "train"]


class JobSpec(Contract):
    """Work that a thin step hands over. Submitting a key that exists re-attaches to it: the work happens once."""

    key: str = Field(description="idempotency key, for example '<pipeline run>/<step>'")
    entrypoint: str = Field(description="'package.module:function'; called as function(payload, progress)")
    payload: dict[str, Any] = Field(description="JSON arguments")
    pool: ComputePool = "data"
    node_pool: str = Field(default="", description="nodes of a cluster that the job runs on; empty: as configured")
    takes_gpus: bool = Field(default=True, description="it computes on GPUs where the site reserves some for jobs")


class JobProgress(Contract):
    """A line of progress: a sentence, and numbers to draw (loss, tokens/s, step, of)."""

    time: UtcTime
    message: str
    numbers: dict[str, float] = {}


Progress = Callable[[str, Mapping[str, float]], None]
"""What a job's function calls to report: progress("step 3 of 30", {"loss": 1.2})."""


class Compute(Protocol):
    """Runs jobs on the running Ray (local profile) or as a RayJob (cluster profile)."""

    def submit(self, job: JobSpec) -> None: ...

    def follow(self, key: str) -> Iterator[JobProgress]:
        """Progress from the beginning, until the job has ended."""

    def result(self, key: str) -> dict[str, Any]:
        """The function's JSON result.

        Raises:
            TidegateError: the job's own error, re-raised with its class and next step.
            Unavailable: the worker died.
        """


# --- registry -------------------------------------------------------------------------------------------------------


class Registry(Protocol):
    """Registered model versions and aliases. An alias nominates; it is never the source of what serves."""

    def register(self, version: ModelVersion, *, run_id: str, idempotency_key: str) -> ModelVersion:
        """Creates the version (its number is assigned here) or returns the one that carries the key already."""

    def get(self, name: str, version: str) -> ModelVersion: ...

    def versions(self, name: str) -> Sequence[ModelVersion]: ...

    def by_alias(self, name: str, alias: str) -> ModelVersion | None: ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def set_tag(self, name: str, version: str, key: str, value: str) -> None: ...


# --- features -------------------------------------------------------------------------------------------------------


class OnlineFeatures(Protocol):
    """Online lookup for serving: one entity, the features of one template. Missing values are None."""

    def get(self, entity: str, feature_views: Sequence[str]) -> dict[str, FeatureValue]: ...


# --- engines --------------------------------------------------------------------------------------------------------


class AdapterSlot(Contract):
    """An adapter that an engine shall hold: `id` is the model id that requests name."""

    id: str
    uri: str
    digest: str
    rank: int


class EngineStatus(Contract):
    """What an engine says of itself; `ready` only when every replica holds every wanted adapter, warmed.

    `workers` counts the nodes of Ray that its replicas run on.
    """

    ready: bool
    url: str
    adapters: tuple[str, ...]
    replicas_ready: int
    replicas_wanted: int
    workers: int = 0
    message: str = ""


class Engines(Protocol):
    """Runs one engine per ModelRuntime."""

    def ensure(self, runtime: str, spec: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> None:
        """Declares the wanted engine and its adapters; idempotent, returns at once."""

    def status(self, runtime: str) -> EngineStatus: ...

    def remove(self, runtime: str) -> None: ...


# --- retraining -----------------------------------------------------------------------------------------------------


class RunFailure(Contract):
    """Why a run failed, and whether the same run tried again can succeed (a lost worker) or not (a failed gate)."""

    reason: str
    transient: bool


def unclaimed() -> None:
    """For whoever starts runs alone."""


class RunLauncher(Protocol):
    """Starts the retraining pipeline for a request. The request's key is the run's name: starting twice is one run."""

    def start(self, request: RetrainRequest, *, claim: Callable[[], None] = unclaimed) -> str:
        """The run's id. A start that failed may have made the run all the same: starting again finds it.

        Args:
            claim: called right before a run is made, by a launcher that must be the only one then; what it raises is
                raised, and no run is made.
        """

    def state(self, run: str) -> Literal["running", "succeeded", "failed"]: ...

    def failure(self, run: str) -> RunFailure | None:
        """Of a failed run; None for any other."""

    def since(self, run: str) -> datetime | None: ...
