"""What every step's process does: hand a job to the running compute, follow it, and say why when it fails.

A step imports no data or training library. Its job's key is made of the run's and the step's name: a step that is
started again after its pod was lost finds the job that its first try submitted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tidegate.adapters import storage
from tidegate.adapters.compute import compute_from_settings
from tidegate.environment import RUN_VARIABLE, take_folders
from tidegate.errors import InvalidInput, TidegateError
from tidegate.ports import Compute, ComputePool, JobSpec
from tidegate.settings import load_settings
from tidegate.wire import PROGRESS_MARK, error_to_line

_ADDRESS = "address"


def step_key(step: str, run_name: str = "") -> str:
    """`<run>/<step>`: the idempotency key of a step's job. The first thing that a step's process asks for.

    The run's name is the pipeline's parameter, else `TIDEGATE_RUN`, which the runner sets: on a cluster to the id
    that KFP gave the run, which every pod of the run carries.

    Raises:
        InvalidInput: nobody says which run this is.
    """
    take_folders()
    run = run_name or os.environ.get(RUN_VARIABLE)
    if not run:
        raise InvalidInput(
            f"step {step!r} does not know its run", next_step=f"Pass run_name in the pipeline, or set {RUN_VARIABLE}."
        )
    return f"{run}/{step}"


def output_uri(key: str) -> str:
    """The folder that a step's job writes: `<artifacts_uri>/runs/<run>/<step>`."""
    with reasons_told():
        return storage.join(load_settings().artifacts_uri, "runs", *key.split("/"))


def publish(artifact: Any, uri: str, **metadata: object) -> None:
    """Makes a KFP artifact stand for what a job left at an address.

    The artifact itself is only a small file that names the address. KFP's launcher would copy whatever an artifact's
    own address names into every pod that takes it in, with credentials that it has for its own bucket alone; what
    the platform stores stays where it is, and steps pass its address.
    """
    artifact.metadata.update(metadata, **{_ADDRESS: uri})
    path = Path(artifact.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(uri + "\n", encoding="utf-8")


def address(artifact: Any) -> str:
    """Where what an artifact stands for lies; an artifact from elsewhere is at its own address."""
    return str(artifact.metadata.get(_ADDRESS) or artifact.uri)


def run_job(
    entrypoint: str,
    payload: Mapping[str, Any],
    pool: ComputePool,
    key: str,
    compute: Compute | None = None,
    node_pool: str = "",
    takes_gpus: bool = True,
) -> dict[str, Any]:
    """Submits the job (or re-attaches to it), prints its progress line by line, and gives its result.

    Args:
        entrypoint: `package.module:function`.
        payload: the function's JSON argument.
        pool: which workers.
        key: see `step_key`.
        compute: where; by default what the settings say.
        node_pool: nodes of a cluster; by default what the settings say.
        takes_gpus: whether GPUs are of use to it; none is reserved for a job that computes on the CPU.

    Raises:
        TidegateError: the job's own error.
        Unavailable: the compute does not answer, or the worker died.
    """
    compute = compute or compute_from_settings()
    job = JobSpec(key=key, entrypoint=entrypoint, payload=dict(payload), pool=pool)
    compute.submit(job.model_copy(update={"node_pool": node_pool, "takes_gpus": takes_gpus}))
    for line in compute.follow(key):
        print(f"{PROGRESS_MARK}{line.message}", flush=True)  # noqa: T201 - a step's standard output is its log
    return compute.result(key)


def run_step(
    entrypoint: str,
    payload: Mapping[str, Any],
    pool: ComputePool,
    key: str,
    node_pool: str = "",
    *,
    takes_gpus: bool = True,
) -> dict[str, Any]:
    """`run_job` for a step's process, with `reasons_told`."""
    with reasons_told():
        return run_job(entrypoint, payload, pool, key, node_pool=node_pool, takes_gpus=takes_gpus)


@contextlib.contextmanager
def reasons_told() -> Iterator[None]:
    """For a step's process: an error inside becomes one line of the log and exit code 1, without a traceback."""
    try:
        yield
    except TidegateError as error:
        _end(error)


def _end(error: TidegateError) -> NoReturn:
    """Tells why in the log, where whoever follows the run finds it."""
    empty = ", ".join(map(str, take_folders()))
    if empty:
        missing = f"{empty} holds nothing: a ConfigMap or Secret of the site file is missing in the run's namespace."
        error = type(error)(error.problem, next_step=f"{missing} {error.next_step}".rstrip())
    print(f"error: {error}", flush=True)  # noqa: T201
    print(error_to_line(error), flush=True)  # noqa: T201
    sys.exit(1)
