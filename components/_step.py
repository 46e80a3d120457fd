"""What every step's process does: hand a job to the running compute, follow it, and say why when it fails.

A step imports no data or training library. Its job's key is made of the run's and the step's name: a step that is
started again after its pod was lost finds the job that its first try submitted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from tidegate.adapters import storage
from tidegate.adapters.compute import compute_from_settings
from tidegate.errors import InvalidInput, TidegateError
from tidegate.ports import Compute, ComputePool, JobSpec
from tidegate.settings import load_settings
from tidegate.wire import PROGRESS_MARK, error_to_line

RUN_VARIABLE = "TIDEGATE_RUN"


def step_key(step: str, run_name: str = "") -> str:
    """`<run>/<step>`: the idempotency key of a step's job.

    The run's name is `TIDEGATE_RUN` where the runner sets it, else what the pipeline passes from KFP.

    Raises:
        InvalidInput: nobody says which run this is.
    """
    run = os.environ.get(RUN_VARIABLE) or run_name
    if not run:
        raise InvalidInput(
            f"step {step!r} does not know its run", next_step=f"Set {RUN_VARIABLE}, or pass run_name in the pipeline."
        )
    return f"{run}/{step}"


def output_uri(key: str) -> str:
    """The folder that a step's job writes: `<artifacts_uri>/runs/<run>/<step>`."""
    return storage.join(load_settings().artifacts_uri, "runs", *key.split("/"))


def run_job(
    entrypoint: str, payload: Mapping[str, Any], pool: ComputePool, key: str, compute: Compute | None = None
) -> dict[str, Any]:
    """Submits the job (or re-attaches to it), prints its progress line by line, and gives its result.

    Args:
        entrypoint: `package.module:function`.
        payload: the function's JSON argument.
        pool: which workers.
        key: see `step_key`.
        compute: where; by default what the settings say.

    Raises:
        TidegateError: the job's own error.
        Unavailable: the compute does not answer, or the worker died.
    """
    compute = compute or compute_from_settings()
    compute.submit(JobSpec(key=key, entrypoint=entrypoint, payload=dict(payload), pool=pool))
    for line in compute.follow(key):
        print(f"{PROGRESS_MARK}{line.message}", flush=True)  # noqa: T201 - a step's standard output is its log
    return compute.result(key)


def run_step(entrypoint: str, payload: Mapping[str, Any], pool: ComputePool, key: str) -> dict[str, Any]:
    """`run_job` for a step's process: an error becomes one line of the log and exit code 1, without a traceback."""
    try:
        return run_job(entrypoint, payload, pool, key)
    except TidegateError as error:
        print(f"error: {error}", flush=True)  # noqa: T201
        print(error_to_line(error), flush=True)  # noqa: T201
        sys.exit(1)
