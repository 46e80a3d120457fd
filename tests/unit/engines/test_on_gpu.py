"""A generation step's tensors lie where the model lies, on a GPU that is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM

from serving.engines.adapter_files import AdapterWeights
from serving.engines.generator import ADAPTABLE, AdapterGenerator
from serving.engines.loading import LoadedBase
from serving.engines.lora import AdapterBank
from serving.engines.ragged import ATTENTION
from tests.fake_gpu import GPU, moved

_HIDDEN, _VOCABULARY = 32, 64


def _row(adapter: str | None, prompt: list[int], cached: int = 0) -> Any:
    return SimpleNamespace(request=SimpleNamespace(adapter=adapter), prompt=prompt, last=5, cached=cached)


def test_prompts_and_decoding_rows_of_several_adapters_run_on_the_gpu() -> None:
    config = LlamaConfig(
        vocab_size=_VOCABULARY, hidden_size=_HIDDEN, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation=ATTENTION,
    )  # fmt: skip
    mode = FakeTensorMode()
    model = moved(LlamaForCausalLM(config).eval(), mode)
    generator = AdapterGenerator.__new__(AdapterGenerator)  # all but what is read from a folder
    with mode, torch.no_grad():
        generator._model, generator._device = model, GPU
        generator._cache = LoadedBase(model, None, frozenset(), 512).new_cache()
        generator._bank = AdapterBank(model, slots=2, max_rank=4, modules=ADAPTABLE)
        weights = {"model.layers.0.self_attn.q_proj": (torch.zeros(4, _HIDDEN), torch.zeros(_HIDDEN, 4))}
        generator._bank.load("tuned", AdapterWeights(rank=4, scaling=2.0, layers=weights))
        first = generator._forward([], [_row("tuned", [1, 2, 3]), _row(None, [4, 5])])
        later = generator._forward([_row("tuned", [1, 2, 3], 3), _row(None, [4, 5], 2)], [_row(None, [6] * 70)])
    assert (first.device, tuple(first.shape)) == (GPU, (2, _VOCABULARY))
    assert (later.device, tuple(later.shape)) == (GPU, (3, _VOCABULARY))
