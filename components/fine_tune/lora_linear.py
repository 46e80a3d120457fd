"""The forward and backward pass of PEFT's LoRA layer, with fewer passes over memory.

PEFT computes W·x + s·B·(A·x) as six operations on tensors of the layer's width. On a CPU each of them costs as much
as a matrix product of this size. Here the scaling goes to the narrow tensor and the low-rank product is added in
place; the arithmetic is PEFT's own (Hu et al. 2021, arXiv:2106.09685, section 4.1).
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from peft.tuners.lora.layer import Linear

ADAPTER = "default"


class _LoraProduct(torch.autograd.Function):  # type: ignore[misc]
    """y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with W frozen; x (…, in), W (out, in), A (rank, in), B (out, rank)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, s: float) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        narrow = torch.mm(flat, a.t()).mul_(s)
        y = torch.mm(flat, w.t()).addmm_(narrow, b.t())
        ctx.save_for_backward(flat, w, a, b, narrow)
        ctx.scaling = s
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, w, a, b, narrow = ctx.saved_tensors
        grad = grads[0]
        flat_grad = grad.reshape(-1, grad.shape[-1])
        grad_narrow = torch.mm(flat_grad, b).mul_(ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(flat_grad, w).addmm_(grad_narrow, a).view(*grad.shape[:-1], -1)
        return grad_x, None, torch.mm(grad_narrow.t(), flat), torch.mm(flat_grad.t(), narrow), None


def fuse(model: torch.nn.Module) -> int:
    """Lets every plain LoRA layer of a PEFT model compute this way; returns how many.

    Layers with bias, dropout or a variant of LoRA keep PEFT's code.
    """
    fused = 0
    for layer in model.modules():
        if isinstance(layer, Linear) and _plain(layer):
            layer.forward = functools.partial(_forward, layer)
            fused += 1
    return fused


def _plain(layer: Any) -> bool:
    return (
        set(layer.lora_A) == {ADAPTER}
        and layer.base_layer.bias is None
        and layer.lora_A[ADAPTER].weight.dtype == layer.base_layer.weight.dtype
        and isinstance(layer.lora_dropout[ADAPTER], torch.nn.Identity)
        and not layer.lora_variant
        and not layer.lora_bias[ADAPTER]
    )


def _forward(layer: Any, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    product: torch.Tensor = _LoraProduct.apply(
        x,
        layer.base_layer.weight,
        layer.lora_A[ADAPTER].weight,
        layer.lora_B[ADAPTER].weight,
        layer.scaling[ADAPTER],
    )
    return product
