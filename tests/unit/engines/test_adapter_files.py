"""Adapters that must not be loaded are refused, by name and with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from serving.engines.adapter_files import adapter_digest, adapter_rank, read_adapter
from tidegate.errors import ContractBroken, InvalidInput, NotFound, TidegateError

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def write(folder: Path, *, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    folder.mkdir()
    if tensors is None:
        tensors = {f"{MODULE}.lora_A.weight": torch.ones(4, 8), f"{MODULE}.lora_B.weight": torch.ones(8, 4)}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8} | config))
    return folder


def test_a_sound_adapter_is_read(tmp_path: Path) -> None:
    adapter = read_adapter(write(tmp_path / "a"), max_rank=4)
    assert (adapter.rank, adapter.scaling) == (4, 2.0)
    assert [*adapter.layers] == ["model.layers.0.self_attn.q_proj"]


def test_the_rank_is_known_before_a_slot_is_made_for_it(tmp_path: Path) -> None:
    assert adapter_rank(write(tmp_path / "a", r=64)) == 64
    (tmp_path / "a" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(InvalidInput, match="not a LoRA configuration"):
        adapter_rank(tmp_path / "a")


def test_rank_stabilised_scaling_divides_by_the_root_of_the_rank(tmp_path: Path) -> None:
    assert read_adapter(write(tmp_path / "a", use_rslora=True), max_rank=4).scaling == 4.0


def test_a_changed_file_breaks_the_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    digest = adapter_digest(folder)
    read_adapter(folder, max_rank=4, digest=digest)
    with (folder / "adapter_config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ContractBroken, match="digest"):
        read_adapter(folder, max_rank=4, digest=digest)


@pytest.mark.parametrize(
    "config",
    [
        {"r": 5},
        {"r": 0},
        {"r": "many"},
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 2}},
        {"init_lora_weights": "pissa"},
        {"an_option_of_a_later_peft": {"changes": "everything"}},
    ],
)
def test_arithmetic_that_the_engine_does_not_do_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_adapter(write(tmp_path / "a", **config), max_rank=4)


@pytest.mark.parametrize(
    "tensors",
    [
        {"base_model.model.lm_head.weight": torch.ones(2, 2)},
        {f"{MODULE}.lora_A.weight": torch.ones(4, 8)},
        {f"{MODULE}.lora_A.weight": torch.ones(3, 8), f"{MODULE}.lora_B.weight": torch.ones(8, 3)},
        {f"{MODULE}.lora_A.weight": torch.full((4, 8), torch.nan), f"{MODULE}.lora_B.weight": torch.ones(8, 4)},
    ],
)
def test_tensors_that_are_not_a_lora_pair_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InvalidInput):
        read_adapter(write(tmp_path / "a", tensors=tensors), max_rank=4)


def test_a_pickle_is_not_looked_at(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(NotFound, match="safetensors"):
        read_adapter(folder, max_rank=4)


def test_a_damaged_safetensors_file_is_refused_without_a_traceback(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / "adapter_model.safetensors").write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(TidegateError):
        read_adapter(folder, max_rank=4)
