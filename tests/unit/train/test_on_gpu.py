"""Training's tensors lie where the model lies, on a GPU that is not there."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from components.fine_tune.lora_linear import fuse
from components.fine_tune.steps import answer_logits, collate
from tests.fake_gpu import GPU, moved
from tests.unit.train.test_lora_linear import ROWS, small_model


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_batch_that_goes_to_the_gpu_is_all_that_the_forward_pass_and_the_loss_need(attention: str) -> None:
    model, mode = small_model(attention=attention), FakeTensorMode()
    assert fuse(model) == 6
    moved(model, mode)
    with mode:
        batch = collate(ROWS, 2).to(GPU)
        logits = answer_logits(model, batch)
        loss = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum")
        assert (logits.device, loss.device) == (GPU, GPU)
        with pytest.raises(RuntimeError, match="same device"):
            answer_logits(model, collate(ROWS, 2))


def test_the_attention_of_a_gpu_computes_what_the_one_of_a_cpu_does() -> None:
    batch = collate(ROWS, 2)
    assert torch.allclose(
        answer_logits(small_model(attention="sdpa"), batch), answer_logits(small_model(), batch), atol=1e-5
    )
