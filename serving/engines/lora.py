"""Many LoRA adapters on one base model, mixed within one batch.

Every adapted linear layer keeps the A matrices of all adapter slots stacked, (slots * rank, in), and the B matrices
side by side, (out, slots * rank). A row's hidden values are multiplied with a mask that holds its adapter's scaling in
the columns of its slot and zero elsewhere: y = W x + B ((A x) * mask). Two small matrix products for the whole batch,
however many adapters are mixed; PEFT's `adapter_names` path gathers and scatters once per adapter and layer instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from serving.engines.adapter_files import AdapterWeights
from tidegate.errors import InvalidInput, ResourceExhausted


class RowMask:
    """The mask of the forward pass under way, shared by all adapted layers: (rows, slots * rank), or None for none."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None


class AdaptedLinear(nn.Module):  # type: ignore[misc]
    """A linear layer of the base model plus the low-rank terms of all slots."""

    def __init__(self, base: nn.Linear, columns: int, mask: RowMask) -> None:
        super().__init__()
        self.base = base
        self._mask = mask
        weight = base.weight
        self.a = torch.zeros(columns, base.in_features, dtype=weight.dtype, device=weight.device)
        self.b = torch.zeros(columns, base.out_features, dtype=weight.dtype, device=weight.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, rows, in) → (…, rows, out); the leading dimensions must be 1 when a mask is set."""
        y: torch.Tensor = self.base(x)
        mask = self._mask.value
        if mask is None:
            return y
        rows = y.view(-1, y.shape[-1])
        hidden = torch.mm(x.view(-1, x.shape[-1]), self.a.t()).mul_(mask)
        return rows.addmm_(hidden, self.b).view(y.shape)


class AdapterBank:
    """The adapter slots of one model. Not thread-safe: whoever runs the forward passes also loads and unloads.

    Args:
        model: a decoder; linear layers named in `modules` inside its decoder layers are wrapped in place.
        slots: adapters that fit at once.
        max_rank: columns per slot.
        modules: last path components of the layers that adapters may target.
    """

    def __init__(self, model: nn.Module, *, slots: int, max_rank: int, modules: Sequence[str]) -> None:
        self._slots: list[str | None] = [None] * slots
        self._scaling = [0.0] * slots
        self._max_rank = max_rank
        self._mask = RowMask()
        self._layers: dict[str, AdaptedLinear] = {}
        self._model = model
        for path, module in list(model.named_modules()):
            parent, _, name = path.rpartition(".")
            if name in modules and isinstance(module, nn.Linear):
                wrapped = AdaptedLinear(module, slots * max_rank, self._mask)
                setattr(model.get_submodule(parent), name, wrapped)
                self._layers[path] = wrapped

    @property
    def adapters(self) -> tuple[str, ...]:
        """The ids that are loaded, in slot order."""
        return tuple(slot for slot in self._slots if slot is not None)

    @property
    def max_rank(self) -> int:
        return self._max_rank

    def load(self, adapter: str, weights: AdapterWeights) -> None:
        """Puts an adapter into a free slot.

        Raises:
            InvalidInput: the id is loaded already, or a module is not adaptable or has other dimensions.
            ResourceExhausted: no slot is free.
        """
        if adapter in self._slots:
            raise InvalidInput(f"adapter {adapter!r} is loaded already", next_step="Unload it first.")
        for module, (a, b) in weights.layers.items():
            self._check(adapter, module, a, b)
        if None not in self._slots:
            raise ResourceExhausted(
                f"no adapter slot is free for {adapter!r}: {len(self._slots)} in use",
                next_step="Raise spec.engine.maxAdapters of the ModelRuntime, or finish a rollout first.",
            )
        slot = self._slots.index(None)
        start = slot * self._max_rank
        with torch.inference_mode():
            for module, (a, b) in weights.layers.items():
                layer = self._layers[module]
                layer.a[start : start + weights.rank].copy_(a)
                layer.b[start : start + weights.rank].copy_(b.t())
        self._slots[slot], self._scaling[slot] = adapter, weights.scaling

    def unload(self, adapter: str) -> None:
        """Frees the adapter's slot. KeyError when it is not loaded."""
        if adapter not in self._slots:
            raise KeyError(adapter)
        slot = self._slots.index(adapter)
        start = slot * self._max_rank
        with torch.inference_mode():
            for layer in self._layers.values():
                layer.a[start : start + self._max_rank].zero_()
                layer.b[start : start + self._max_rank].zero_()
        self._slots[slot], self._scaling[slot] = None, 0.0

    def select(self, rows: Sequence[str | None]) -> None:
        """Sets the adapter of every row of the next forward pass; None is the bare base model."""
        if all(adapter is None for adapter in rows):
            self._mask.value = None
            return
        weight = next(iter(self._layers.values())).a
        width = len(self._slots) * self._max_rank
        masks = torch.zeros(len(self._slots) + 1, width, dtype=weight.dtype, device=weight.device)
        for slot, scaling in enumerate(self._scaling):
            masks[slot, slot * self._max_rank : (slot + 1) * self._max_rank] = scaling
        none = len(self._slots)
        index = [none if adapter is None else self._slots.index(adapter) for adapter in rows]
        self._mask.value = masks[torch.tensor(index, device=weight.device)]

    def _check(self, adapter: str, module: str, a: torch.Tensor, b: torch.Tensor) -> None:
        layer = self._layers.get(module)
        if layer is None:
            raise InvalidInput(
                f"adapter {adapter!r} adapts {module!r}, which the base model does not offer for adapters",
                next_step="Train on the attention and MLP projections of the same base model.",
            )
        found, wanted = (a.shape[1], b.shape[0]), (layer.base.in_features, layer.base.out_features)
        if found != wanted:
            raise InvalidInput(
                f"adapter {adapter!r}: {module} maps {found[0]} to {found[1]} values, "
                f"the base {wanted[0]} to {wanted[1]}",
                next_step="The adapter belongs to another base model.",
            )
