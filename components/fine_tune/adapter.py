"""The adapter around its base model: attach, continue from another, save."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from components.fine_tune.lora_linear import ADAPTER, fuse
from serving.engines.adapter_files import CONFIG_FILE, WEIGHTS_FILE, adapter_digest, read_adapter
from tidegate.adapters import storage
from tidegate.domain.training import LoraSpec
from tidegate.errors import InvalidInput

_MAX_RANK = 512


_CPU = torch.device("cpu")


def load_model(base: Path, lora: LoraSpec, *, dtype: torch.dtype, seed: int, device: torch.device = _CPU) -> Any:
    """The frozen base with a fresh adapter on it, as a PEFT model in training mode on `device`.

    It is made on the CPU and moved then: a seed gives the same first weights wherever the training runs.

    Raises:
        InvalidInput: the base has no layer of a name in `target_modules`.
    """
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=dtype,
        # Sequences are short: plain matrix products are several times faster on a CPU than its flash attention, whose
        # backward pass alone took a third of a step. A GPU's fused kernels win.
        attn_implementation="eager" if device.type == "cpu" else "sdpa",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    layers = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    unknown = sorted(set(lora.target_modules) - layers)
    if unknown:
        raise InvalidInput(
            f"the base model has no linear layers named {', '.join(unknown)}",
            next_step=f"Choose target_modules among {', '.join(sorted(layers - {'lm_head'}))}.",
        )
    torch.manual_seed(seed)  # of the CPU and of every GPU
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(lora.target_modules),
        task_type="CAUSAL_LM",
    )
    peft_model = get_peft_model(model, config, adapter_name=ADAPTER, autocast_adapter_dtype=False)
    fuse(peft_model)
    return peft_model.to(device).train()


def start_from(model: Any, folder: Path, lora: LoraSpec) -> None:
    """Sets the adapter's weights to those in `folder`.

    Raises:
        InvalidInput: its rank, scaling or layers are not those of `lora`, or its files are damaged.
    """
    found = read_adapter(folder, max_rank=_MAX_RANK)
    if found.rank != lora.rank or found.scaling != lora.alpha / lora.rank:
        raise InvalidInput(
            f"the adapter {folder} has rank {found.rank} and alpha {found.scaling * found.rank:g}, "
            f"but rank {lora.rank} and alpha {lora.alpha} are asked for",
            next_step="Continue with the adapter's own rank and alpha, or start afresh.",
        )
    own = {key.removeprefix("base_model.model.") for key in get_peft_model_state_dict(model)}
    given = {f"{module}.lora_{side}.weight" for module in found.layers for side in "AB"}
    if own != given:
        modules = sorted({key.split(".")[-3] for key in own ^ given})
        raise InvalidInput(
            f"the adapter {folder} adapts other layers than asked for (they differ in {', '.join(modules)})",
            next_step="Continue with the adapter's own target_modules, or start afresh.",
        )
    state = {
        f"base_model.model.{module}.lora_{side}.weight": tensor
        for module, pair in found.layers.items()
        for side, tensor in zip("AB", pair, strict=True)
    }
    set_peft_model_state_dict(model, state)


def save(model: Any, uri: str, base_uri: str) -> str:
    """Writes the adapter, weights first, then the configuration by which readers find it. Returns its digest.

    The tensors are written from the CPU: a file names no device, and is read where there is no GPU.
    """
    config = model.peft_config[ADAPTER]
    config.base_model_name_or_path = base_uri  # an address, never a path of the machine that trained
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)
    with tempfile.TemporaryDirectory(prefix="tidegate-adapter-") as temporary:
        folder = Path(temporary)
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in get_peft_model_state_dict(model).items()}
        save_file(state, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})
        config.save_pretrained(str(folder))
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            storage.write_bytes(storage.join(uri, name), (folder / name).read_bytes())
        return adapter_digest(folder)
