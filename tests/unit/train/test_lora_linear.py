"""The fused LoRA layer against PEFT's own, on a small random model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from components.fine_tune.lora_linear import fuse
from components.fine_tune.rows import Row
from components.fine_tune.steps import Stepper, answer_logits, collate

ROWS = [
    Row("a", [3, 4, 5, 6], [7, 2]),
    Row("b", [8, 9], [10, 11, 2]),
    Row("c", [12, 13, 14, 15, 16, 17], [2]),
]


def small_model(*, dropout: float = 0.0, attention: str = "eager") -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation=attention,
    )  # fmt: skip
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["q_proj", "v_proj", "down_proj"])
    model = get_peft_model(LlamaForCausalLM(config), lora)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # B starts at zero, which would hide the gradient of A
            torch.nn.init.normal_(weight, std=0.1)
    return model.train()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    batch = collate(ROWS, 2)
    torch.nn.functional.cross_entropy(answer_logits(model, batch), batch.targets).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}


def test_forward_and_backward_are_those_of_peft() -> None:
    theirs, ours = small_model(), small_model()
    assert fuse(ours) == 6
    batch = collate(ROWS, 2)
    assert torch.allclose(answer_logits(ours, batch), answer_logits(theirs, batch), atol=1e-5)
    expected = gradients(theirs)
    found = gradients(ours)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert gradient.abs().max() > 0, name
        assert torch.allclose(gradient, expected[name], atol=1e-6, rtol=1e-4), name


def test_layers_with_dropout_keep_peft_s_code() -> None:
    assert fuse(small_model(dropout=0.1)) == 0


def test_logits_at_answers_are_those_of_the_whole_forward_pass() -> None:
    model = small_model()
    for row in ROWS:
        alone = torch.tensor([row.prompt + row.answer])
        whole = model(alone).logits[0, len(row.prompt) - 1 : -1]
        assert torch.allclose(answer_logits(model, collate([row], 2)), whole, atol=1e-5)


def test_padding_changes_nothing() -> None:
    model = small_model()
    together = answer_logits(model, collate(ROWS, 2))
    alone = torch.cat([answer_logits(model, collate([row], 2)) for row in ROWS])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_lower_the_loss_and_leave_the_base_alone(dtype: torch.dtype) -> None:
    model = small_model().to(dtype)
    fuse(model)
    frozen = {name: weight.clone() for name, weight in model.named_parameters() if not weight.requires_grad}
    stepper = Stepper(model, 2)
    losses = [stepper.step(ROWS, 1e-2)[0] for _ in range(30)]
    assert losses[-1] < losses[0] - 0.5
    assert all(torch.equal(weight, dict(model.named_parameters())[name]) for name, weight in frozen.items())


def test_small_updates_add_up_in_bfloat16() -> None:
    model = small_model().to(torch.bfloat16)
    fuse(model)
    stepper = Stepper(model, 2)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_A" in name}
    for _ in range(40):
        stepper.step(ROWS, 1e-5)  # each one alone is below what bfloat16 resolves
    after = dict(model.named_parameters())
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())


def test_a_step_reports_the_mean_loss_and_all_tokens() -> None:
    model = small_model()
    batch = collate(ROWS, 2)
    expected = torch.nn.functional.cross_entropy(answer_logits(model, batch), batch.targets).item()
    loss, tokens = Stepper(model, 2).step(ROWS, 1e-3)
    assert loss == pytest.approx(expected, rel=1e-4)
    assert tokens == sum(row.tokens for row in ROWS) == 18
