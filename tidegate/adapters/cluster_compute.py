"""Compute of the profile `cluster`: data steps in their own pod, training as a RayJob."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tidegate.adapters.step_compute import StepCompute
from tidegate.errors import InvalidInput
from tidegate.ports import Compute, JobProgress, JobSpec
from tidegate.settings import Settings

if TYPE_CHECKING:
    from tidegate.adapters.rayjob_compute import RayJobCompute


class ClusterCompute:
    """The Compute port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._step = StepCompute(settings)
        self._rayjobs: RayJobCompute | None = None
        self._by_key: dict[str, Compute] = {}

    def submit(self, job: JobSpec) -> None:
        """Hands the job over, or finds the one of an earlier pod of this step.

        Raises:
            Conflict: the key belongs to other work.
            InvalidInput: no such node pool, or none can be chosen here.
        """
        chosen: Compute = self._step
        if job.pool == "train" and self._settings.jobs.runner == "rayjob":
            chosen = self._rayjobs = self._rayjobs or self._connect()
        elif job.node_pool and job.node_pool != self._settings.jobs.node_pool:
            raise InvalidInput(
                f"node_pool = {job.node_pool!r}: this step runs in its own pod, whose node was chosen at compile time",
                next_step="Leave the parameter out, or set training.nodePool in the site file and compile again.",
            )
        self._by_key[job.key] = chosen
        chosen.submit(job)

    def follow(self, key: str) -> Iterator[JobProgress]:
        return self._by_key.get(key, self._step).follow(key)

    def result(self, key: str) -> dict[str, Any]:
        return self._by_key.get(key, self._step).result(key)

    def _connect(self) -> RayJobCompute:
        from tidegate.adapters.rayjob_compute import RayJobCompute  # noqa: PLC0415 - the Kubernetes client

        return RayJobCompute.connect(self._settings)
