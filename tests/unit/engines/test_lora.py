"""Mixed batches: every row gets its own adapter's low-rank term, and nobody else's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from serving.engines.adapter_files import AdapterWeights
from serving.engines.lora import AdapterBank
from tidegate.errors import InvalidInput, ResourceExhausted


class Tiny(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q_proj(x)


def weights(seed: int, rank: int, scaling: float = 2.0) -> AdapterWeights:
    random = torch.Generator().manual_seed(seed)
    pair = (torch.randn(rank, 6, generator=random), torch.randn(5, rank, generator=random))
    return AdapterWeights(rank=rank, scaling=scaling, layers={"q_proj": pair})


def alone(model: Tiny, x: torch.Tensor, adapter: AdapterWeights | None) -> torch.Tensor:
    base = nn.functional.linear(x, model.q_proj.base.weight, model.q_proj.base.bias)
    if adapter is None:
        return base
    a, b = adapter.layers["q_proj"]
    return base + adapter.scaling * (x @ a.t() @ b.t())


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


@torch.inference_mode()  # type: ignore[untyped-decorator]
def test_every_row_has_its_own_adapter(model: Tiny) -> None:
    bank = AdapterBank(model, slots=3, max_rank=4, modules=["q_proj"])
    adapters = {"a": weights(1, 4), "b": weights(2, 2, scaling=0.5), None: None}
    for name, adapter in adapters.items():
        if name is not None and adapter is not None:
            bank.load(name, adapter)
    rows = ["a", None, "b", "a", "b", None]
    x = torch.randn(1, len(rows), 6)
    bank.select(rows)
    got = model(x)
    for row, name in enumerate(rows):
        torch.testing.assert_close(got[0, row], alone(model, x[0, row], adapters[name]))


@torch.inference_mode()  # type: ignore[untyped-decorator]
def test_a_slot_that_is_reused_keeps_nothing_of_the_adapter_before(model: Tiny) -> None:
    bank = AdapterBank(model, slots=1, max_rank=4, modules=["q_proj"])
    bank.load("wide", weights(1, 4))
    bank.unload("wide")
    narrow = weights(2, 1)
    bank.load("narrow", narrow)
    bank.select(["narrow"])
    x = torch.randn(1, 1, 6)
    torch.testing.assert_close(model(x)[0, 0], alone(model, x[0, 0], narrow))


def test_a_full_bank_and_a_doubled_id_are_refused(model: Tiny) -> None:
    bank = AdapterBank(model, slots=1, max_rank=4, modules=["q_proj"])
    bank.load("a", weights(1, 4))
    with pytest.raises(InvalidInput, match="already"):
        bank.load("a", weights(1, 4))
    with pytest.raises(ResourceExhausted, match="slot"):
        bank.load("b", weights(2, 4))
    assert bank.adapters == ("a",)


@pytest.mark.parametrize("module", ["head", "nowhere"])
def test_an_adapter_of_other_layers_is_refused(model: Tiny, module: str) -> None:
    bank = AdapterBank(model, slots=1, max_rank=4, modules=["q_proj"])
    other = AdapterWeights(rank=1, scaling=1.0, layers={module: (torch.ones(1, 5), torch.ones(3, 1))})
    with pytest.raises(InvalidInput, match=module):
        bank.load("a", other)


def test_an_adapter_of_another_base_is_refused(model: Tiny) -> None:
    bank = AdapterBank(model, slots=1, max_rank=4, modules=["q_proj"])
    other = AdapterWeights(rank=1, scaling=1.0, layers={"q_proj": (torch.ones(1, 7), torch.ones(5, 1))})
    with pytest.raises(InvalidInput, match="another base"):
        bank.load("a", other)
