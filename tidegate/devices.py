"""On which kind of device a process computes: decided by what was reserved for it, not by what it happens to see."""

from __future__ import annotations

from typing import Literal

from tidegate.errors import InvalidInput

DeviceKind = Literal["cpu", "cuda"]
"""In torch's words; AMD's GPUs are called cuda there, too."""


def device_kind(reserved: int, visible: int, who: str) -> DeviceKind:
    """The device of a process that computes on one.

    Args:
        reserved: GPUs that the platform reserved for it.
        visible: GPUs that torch sees in it.
        who: for the error.

    Raises:
        InvalidInput: a GPU is reserved and torch sees none.
    """
    if not reserved:
        return "cpu"
    if not visible:
        raise no_gpu_seen(reserved, who)
    return "cuda"


def no_gpu_seen(reserved: int, who: str) -> InvalidInput:
    """The error of a process that is paid a GPU and cannot use it: it must not compute on CPUs instead."""
    return InvalidInput(
        f"{reserved} GPU(s) are reserved for {who}, and torch sees 0",
        next_step="Use an image whose torch has the GPU's libraries (role train or serve), and look at the node's "
        "driver (nvidia-smi in a pod); or reserve none to compute on CPUs.",
    )
