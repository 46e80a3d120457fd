"""The device of this process, as torch knows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tidegate.devices import device_kind
from tidegate.errors import InvalidInput

_GIB = 2**30
_SENTENCES = 4
"""Of torch's error: that memory is out, how much was wanted, what the GPU has and what this process holds of it. Advice
on its allocator follows."""


def generation_device(reserved: int, who: str) -> torch.device:
    """Where this process generates: on its first GPU when one is reserved for it, else on the CPU.

    Raises:
        InvalidInput: a GPU is reserved and torch sees none.
    """
    return torch.device(device_kind(reserved, torch.cuda.device_count(), who))


def device_name(device: torch.device) -> str:
    """For people and records: 'cpu', or what the GPU calls itself, for example 'NVIDIA L4'."""
    return str(torch.cuda.get_device_name(device) if device.type == "cuda" else device.type)


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively (Ampere or later; AVX-512 BF16 or AMX), else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


@contextmanager
def within_memory(who: str, next_step: str) -> Iterator[None]:
    """Runs `who` on a device whose memory may not hold it.

    Raises:
        InvalidInput: it did not. Trying the same again would end the same way.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = ". ".join(str(error).split(". ")[:_SENTENCES]).rstrip(".")
        raise InvalidInput(f"{who} does not fit into the GPU's memory: {told}", next_step=next_step) from error


def check_room(device: torch.device, need: int, what: str, next_step: str) -> None:
    """Whether a GPU still has `need` bytes for `what`; a CPU's memory is not asked: the pod's limit tells.

    Raises:
        InvalidInput: it has not.
    """
    if device.type != "cuda":
        return
    free, total = torch.cuda.mem_get_info(device)
    if need > free:
        raise InvalidInput(
            f"{what} take up to {need / _GIB:.1f} GiB, and {device_name(device)} has {free / _GIB:.1f} of "
            f"{total / _GIB:.1f} GiB left",
            next_step=next_step,
        )
