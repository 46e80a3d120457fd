"""What a training runs on: a pure decision from what was reserved for it, what this process sees, and how many workers.

A worker trains on one device. GPUs are used exactly when the platform reserved some: then they are used, or the run
fails and says why. One that is merely visible may be somebody else's, and training on the CPUs beside a GPU that is
paid for would go unnoticed for hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.devices import DeviceKind, device_kind, no_gpu_seen
from tidegate.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where and how the workers run, in the terms of Ray Train."""

    device: DeviceKind
    workers: int
    in_process: bool
    """One worker trains in the job's own process, which has imported everything and holds the cores or the GPU."""
    told: str
    """For people: what the run computes on."""

    @property
    def backend(self) -> Literal["nccl", "gloo"]:
        """Of torch's process group."""
        return "nccl" if self.device == "cuda" else "gloo"

    @property
    def num_workers(self) -> int:
        """Ray Train's own number; 0 is its mode without a worker group."""
        return 0 if self.in_process else self.workers

    @property
    def use_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def resources_per_worker(self) -> dict[str, float] | None:
        """What a worker holds in Ray; None is Ray's default, one CPU."""
        return {"GPU": 1} if self.device == "cuda" else None

    @property
    def placement(self) -> Literal["PACK", "SPREAD"]:
        """GPUs are counted out to the workers, so any order of pods uses all. By CPUs alone, one pod's slots would take
        every worker while the other pods, which are there for this job, idle."""
        return "PACK" if self.device == "cuda" else "SPREAD"


def plan(*, workers: int, reserved: int, visible: int, in_ray: int | None) -> Hardware:
    """The decision.

    Args:
        workers: Ray Train workers that are asked for.
        reserved: GPUs reserved for the whole job; 0: it trains on CPUs.
        visible: GPUs that torch sees in the job's process.
        in_ray: GPUs that the job's Ray counts, all nodes together; None where it was not asked, for one worker.

    Raises:
        InvalidInput: more workers than GPUs; or GPUs are reserved and none can be used.
    """
    if reserved and workers > reserved:
        raise InvalidInput(
            f"workers = {workers}, and {reserved} GPU(s) are reserved for the job: a worker trains on one GPU",
            next_step=f"Ask for {reserved} worker(s), or reserve more (training.gpus in the site file).",
        )
    if workers == 1:
        device = device_kind(reserved, visible, "this training")
    elif reserved:
        _enough_in_ray(workers, in_ray or 0, visible)
        device = "cuda"
    else:
        device = "cpu"
    return Hardware(
        device=device, workers=workers, in_process=workers == 1, told=_told(device, workers, reserved, visible)
    )


def _enough_in_ray(workers: int, in_ray: int, visible: int) -> None:
    if in_ray < workers:
        raise InvalidInput(
            f"workers = {workers}, and the job's Ray counts {in_ray} GPU(s) (torch sees {visible} in this process)",
            next_step=f"Ask for at most {in_ray} worker(s); or look why Ray does not count the GPUs that are reserved."
            if in_ray
            else "Give the Ray cluster nodes with GPUs, or set training.gpus to 0 to train on CPUs.",
        )


def visible_gpus() -> int:
    """GPUs that torch sees in this process."""
    import torch  # noqa: PLC0415  seconds

    return int(torch.cuda.device_count())


def check_worker(device: DeviceKind, given: int, visible: int) -> None:
    """Whether a worker of a group can do what was planned, maybe on another machine.

    Args:
        device: the plan's.
        given: GPUs that Ray gave this worker.
        visible: GPUs that torch sees in it.

    Raises:
        InvalidInput: it is to train on a GPU, and torch sees none.
    """
    if device == "cuda" and not visible:
        raise no_gpu_seen(given, "this training worker")


def _told(device: DeviceKind, workers: int, reserved: int, visible: int) -> str:
    who = "1 worker" if workers == 1 else f"{workers} workers"
    if device == "cuda":
        idle = f" ({reserved - workers} more are reserved and idle: raise workers)" if reserved > workers else ""
        return f"{who} on a GPU{' each' if workers > 1 else ''}{idle}"
    beside = f" ({visible} GPU(s) are visible, none is reserved for this job)" if visible else ""
    return f"{who} on CPUs{beside}"
