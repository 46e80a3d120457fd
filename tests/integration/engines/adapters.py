"""LoRA adapters to test with: PEFT's file format, random weights that visibly change the answers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from serving.engines.adapter_files import adapter_digest
from tidegate.ports import AdapterSlot

_SHAPES = {  # SmolLM2-135M: module → (in, out)
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (576, 192),
    "self_attn.v_proj": (576, 192),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (576, 1536),
    "mlp.up_proj": (576, 1536),
    "mlp.down_proj": (1536, 576),
}
_LAYERS = 30


def write_adapter(folder: Path, *, seed: int, rank: int = 8, alpha: int = 16, spread: float = 0.04) -> Path:
    """An adapter on all projections of the base model; B is drawn with standard deviation `spread`."""
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(_LAYERS):
        for module, (inputs, outputs) in _SHAPES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, inputs, generator=random) / inputs**0.5
            tensors[f"{name}.lora_B.weight"] = torch.randn(outputs, rank, generator=random) * spread
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({module.partition(".")[2] for module in _SHAPES}),
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def slot(adapter_id: str, folder: Path, rank: int = 8) -> AdapterSlot:
    """The slot that declares an adapter folder."""
    return AdapterSlot(id=adapter_id, uri=str(folder), digest=adapter_digest(folder), rank=rank)
