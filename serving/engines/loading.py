"""Loads a base model for generation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, AutoTokenizer

from serving.engines.devices import native_dtype
from serving.engines.ragged import ATTENTION, KeyValueCache, ragged_attention
from tidegate.errors import InvalidInput, NotFound

AttentionInterface.register(ATTENTION, ragged_attention)

_FAMILIES = frozenset({"llama", "qwen2", "qwen3", "mistral"})
"""Decoders whose attention is plain causal with rotary positions, which `ragged_attention` computes."""


@dataclass(frozen=True)
class LoadedBase:
    """A model in evaluation mode with what generation needs to know of it."""

    model: Any
    tokenizer: Any
    end_tokens: frozenset[int]
    context_length: int

    def new_cache(self) -> KeyValueCache:
        config = self.model.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return KeyValueCache(
            config.num_hidden_layers, config.num_key_value_heads, head_dim, self.model.dtype, self.model.device
        )


def load_base(folder: Path, dtype: str, device: torch.device) -> LoadedBase:
    """The model in `folder`, on `device`: safetensors only, no remote code, nothing fetched.

    Raises:
        NotFound: there is no config.json.
        InvalidInput: another architecture, or sliding-window attention.
    """
    if not (folder / "config.json").is_file():
        raise NotFound(
            f"{folder} holds no model (no config.json)", next_step="Name a folder with safetensors and tokenizer."
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    sliding = getattr(config, "use_sliding_window", config.model_type == "mistral")
    if config.model_type not in _FAMILIES or (sliding and getattr(config, "sliding_window", None)):
        raise InvalidInput(
            f"model {folder} is of type {config.model_type!r}, which the transformers engine does not compute",
            next_step=f"Use a model of type {', '.join(sorted(_FAMILIES))} without sliding window, or another engine.",
        )
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=native_dtype(device) if dtype == "auto" else getattr(torch, dtype),
        attn_implementation=ATTENTION,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    model = model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    ends = model.generation_config.eos_token_id
    end_tokens = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
    return LoadedBase(model, tokenizer, frozenset(end_tokens), config.max_position_embeddings)
