"""The device of this process, as torch knows it."""

from __future__ import annotations

import torch

from tidegate.devices import device_kind


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
