"""Compute on the running local Ray: one warm, named worker per pool that outlives the processes that call it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.adapters.job_table import JobTable
from tidegate.adapters.ray_connection import NAMESPACE, connect
from tidegate.clock import SystemClock
from tidegate.errors import InvalidInput, TidegateError, Unavailable
from tidegate.ports import ComputePool, JobProgress, JobSpec
from tidegate.settings import Settings
from tidegate.wire import error_from_dict, error_to_dict

PRELOAD: Mapping[ComputePool, Sequence[str]] = {
    "data": (
        "numpy", "pandas", "pyarrow.parquet", "datasketch", "phonenumbers", "components.prepare.logic", "feast",
        "components.features.logic", "evidently", "monitoring.drift.job",
    ),
    "train": (
        "torch", "transformers", "transformers.models.llama.modeling_llama", "peft", "ray.train.torch", "pandas",
        "pyarrow.parquet", "components.fine_tune.logic", "components.evaluate.logic", "components.register.logic",
        "mlflow",
    ),
}  # fmt: skip
"""What a pool's worker imports while nobody waits for it."""

_CONTROL_THREADS = 32
_NICENESS = 5
"""Jobs yield to engines and gateway, who answer people."""
_RESTART_SECONDS = 30.0


class PoolWorker:
    """The actor: carries calls to its job table. Ray starts it again when its process dies."""

    def __init__(self, pool: ComputePool, home: str) -> None:
        os.environ["TIDEGATE_HOME"] = home
        os.nice(_NICENESS)
        self._table = JobTable(preload=PRELOAD[pool], logs=Path(home) / "logs" / "jobs", clock=SystemClock())

    def submit(self, spec: dict[str, Any]) -> dict[str, str] | None:
        """None, or the error as data."""
        try:
            self._table.submit(JobSpec.model_validate(spec))
        except TidegateError as error:
            return error_to_dict(error)
        return None

    def poll(self, key: str, after: int) -> dict[str, Any] | None:
        """See `JobTable.poll`."""
        return self._table.poll(key, after)

    def status(self) -> dict[str, Any]:
        """See `JobTable.status`, and the process."""
        return self._table.status() | {"pid": os.getpid()}


def start_workers(settings: Settings) -> None:
    """Starts the worker of every pool that does not run, and returns at once: they warm up in the background.

    Raises:
        Unavailable: Ray does not answer.
    """
    ray = connect(settings)
    for pool in PRELOAD:
        _start(ray, pool, settings)


def _start(ray: Any, pool: ComputePool, settings: Settings) -> Any:
    return (
        ray.remote(PoolWorker)
        .options(
            name=f"pool-{pool}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=_CONTROL_THREADS,
        )
        .remote(pool, str(settings.home))
    )


class RayCompute:
    """The Compute port on the local Ray.

    A job belongs to its key, not to the process that submitted it: whoever submits the same key again follows the
    same job. Jobs of one pool run one after another.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ray = connect(settings)
        self._workers: dict[ComputePool, Any] = {}
        self._pools: dict[str, ComputePool] = {}

    def submit(self, job: JobSpec) -> None:
        """Hands the job over and returns.

        Raises:
            Conflict: the key belongs to other work.
            InvalidInput: it names a node pool.
            Unavailable: the worker cannot be reached.
        """
        if job.node_pool:
            raise InvalidInput(
                f"node_pool = {job.node_pool!r}: one machine has no node pools", next_step="Leave the parameter out."
            )
        problem = self._call(job.pool, "submit", job.model_dump(mode="json"))
        if problem is not None:
            raise error_from_dict(problem)
        self._pools[job.key] = job.pool

    def follow(self, key: str) -> Iterator[JobProgress]:
        """Progress from the beginning, until the job has ended.

        Raises:
            Unavailable: the worker died; nobody knows the key.
        """
        seen = 0
        while True:
            news = self._poll(key, seen)
            for line in news["lines"]:
                yield JobProgress.model_validate(line)
            seen += len(news["lines"])
            if news["state"] in {"succeeded", "failed"} and not news["lines"]:
                return

    def result(self, key: str) -> dict[str, Any]:
        """The function's result, as soon as it is there.

        Raises:
            TidegateError: the job's own error, with its class and next step.
            Unavailable: the worker died; nobody knows the key.
        """
        seen = 0
        while True:
            news = self._poll(key, seen)
            seen += len(news["lines"])
            if news["state"] == "failed":
                raise error_from_dict(news["error"])
            if news["state"] == "succeeded":
                result: dict[str, Any] = news["result"]
                return result

    def status(self, pool: ComputePool) -> dict[str, Any]:
        """{'warm', 'missing', 'active', 'pid'} of a pool's worker.

        Raises:
            Unavailable: the worker cannot be reached.
        """
        status: dict[str, Any] = self._call(pool, "status")
        return status

    def _poll(self, key: str, after: int) -> dict[str, Any]:
        known = self._pools.get(key)
        for pool in (known,) if known else PRELOAD:
            news: dict[str, Any] | None = self._call(pool, "poll", key, after)
            if news is not None:
                self._pools[key] = pool
                return news
        raise Unavailable(
            f"no worker knows job {key!r}: it was never submitted, or its worker was restarted meanwhile",
            next_step="Run the step again; finished steps are not repeated.",
        )

    def _call(self, pool: ComputePool, method: str, *args: Any) -> Any:
        """One call to the pool's worker. While Ray starts a dead worker again, a submission waits for it."""
        errors = self._ray.exceptions
        deadline = time.monotonic() + (_RESTART_SECONDS if method == "submit" else 0.0)
        while True:
            try:
                if pool not in self._workers:
                    self._workers[pool] = _start(self._ray, pool, self._settings)
                return self._ray.get(getattr(self._workers[pool], method).remote(*args))
            except (errors.RayActorError, errors.GetTimeoutError, errors.RaySystemError, ConnectionError) as error:
                self._workers.pop(pool, None)
                if isinstance(error, errors.RayActorError) and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                raise Unavailable(
                    f"the worker of pool {pool!r} died or cannot be reached ({type(error).__name__})",
                    next_step="Run the step again: Ray starts the worker anew. See 'tidegate status' if it does not.",
                ) from error
