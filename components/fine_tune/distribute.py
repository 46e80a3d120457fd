"""Runs the training loop in Ray Train and hands its progress on while it runs."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from components.fine_tune.hardware import Hardware, check_worker, plan, visible_gpus
from components.fine_tune.lines import gathered
from components.fine_tune.loop import LoopSpec, train_worker
from tidegate.domain.training import TrainingResult
from tidegate.errors import TidegateError, Unavailable
from tidegate.ports import Progress


def find_hardware(workers: int, reserved: int) -> Hardware:
    """What `workers` workers run on here, with `reserved` GPUs for the job.

    Raises:
        InvalidInput: see `plan`.
    """
    in_ray = None
    if 1 < workers <= reserved:  # more are refused whatever Ray counts
        if not ray.is_initialized():
            ray.init()
        in_ray = int(ray.cluster_resources().get("GPU", 0))
    return plan(workers=workers, reserved=reserved, visible=visible_gpus(), in_ray=in_ray)


def _look_at_gpus(hardware: Hardware) -> None:
    """Asks one process on every GPU what torch sees there. NCCL would find out before the workers begin, and its error
    names neither counts nor a next step.

    Raises:
        InvalidInput: one sees none.
    """
    if hardware.in_process or not hardware.use_gpu:
        return
    look = ray.remote(num_cpus=0, num_gpus=1, scheduling_strategy="SPREAD")(visible_gpus)
    for visible in ray.get([look.remote() for _ in range(hardware.workers)]):
        check_worker(hardware.device, given=1, visible=visible)


def run_training(spec: LoopSpec, hardware: Hardware, progress: Progress) -> TrainingResult:
    """Trains, and returns what the first of the workers reports.

    One worker is Ray Train's local mode: the loop runs in this process, which has imported everything and holds the
    cores or the GPU already. Starting a worker group costs 10 s of imports for nothing then.

    Raises:
        TidegateError: what the loop raised.
        Unavailable: a worker died.
    """
    _look_at_gpus(hardware)
    reporting = nullcontext(progress) if hardware.in_process else gathered(progress)
    with tempfile.TemporaryDirectory(prefix="tidegate-train-") as storage, reporting as report:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"spec": spec.model_dump(mode="json"), "report": report},
            scaling_config=ScalingConfig(
                num_workers=hardware.num_workers,
                use_gpu=hardware.use_gpu,
                resources_per_worker=hardware.resources_per_worker,
                placement_strategy=hardware.placement,
            ),
            run_config=RunConfig(storage_path=storage, name="fine-tune"),
            torch_config=TorchConfig(backend=hardware.backend),
        )
        try:
            result = trainer.fit()
        except Exception as error:
            raise _cause(error) from error
    return TrainingResult.model_validate(result.return_value)


def _cause(error: Exception) -> Exception:
    """The loop's own error, out of what Ray wraps around it."""
    seen: list[Any] = [error]
    for item in seen:
        if isinstance(item, TidegateError):
            return item
        inner = [item.__cause__, getattr(item, "cause", None), *getattr(item, "worker_failures", {}).values()]
        seen += [e for e in inner if isinstance(e, BaseException) and not any(e is known for known in seen)]
    if any(type(item).__name__ in {"ActorDiedError", "RayActorError", "WorkerHealthCheckFailedError"} for item in seen):
        return Unavailable(
            "a training worker died", next_step="Run the step again; look for killed processes (memory)."
        )
    return error
