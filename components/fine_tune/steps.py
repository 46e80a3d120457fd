"""One optimiser step: loss on the answers alone, gradients averaged over workers, float32 master weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from components.fine_tune.rows import Row

_MAX_GRADIENT_NORM = 1.0
_BETAS = (0.9, 0.99)
"""A shorter memory of squared gradients than the usual 0.999: a run has tens of steps, not thousands."""


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right, which a causal model never looks at from the left: no mask is needed.

    `ids` (batch, seq); `positions` (answer tokens) index the flattened (batch · seq) and point at the token *before*
    each answer token; `targets` (answer tokens).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    tokens: int

    def to(self, device: torch.device) -> Batch:
        """The batch where the model lies."""
        return Batch(self.ids.to(device), self.positions.to(device), self.targets.to(device), self.tokens)


def collate(rows: Sequence[Row], pad: int) -> Batch:
    """The rows as one batch."""
    width = max(row.tokens for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    for at, row in enumerate(rows):
        ids[at, : row.tokens] = torch.tensor(row.prompt + row.answer)
        positions += range(at * width + len(row.prompt) - 1, at * width + row.tokens - 1)
        targets += row.answer
    return Batch(ids, torch.tensor(positions), torch.tensor(targets), sum(row.tokens for row in rows))


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Logits (answer tokens, vocabulary) in float32, computed at the answers' positions alone.

    With a vocabulary of 49,152 the output layer costs a quarter of the whole model per token, and eight tokens of nine
    belong to prompts.
    """
    causal = model.get_base_model()
    hidden = causal.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    logits: torch.Tensor = causal.lm_head(hidden.reshape(-1, hidden.shape[-1])[batch.positions])
    return logits.float()


class Stepper:
    """Trains a PEFT model's adapter.

    In bfloat16 an update of a thousandth of a weight is rounded away, so the optimiser keeps float32 copies.
    """

    def __init__(self, model: Any, pad: int) -> None:
        self._model = model
        self._pad = pad
        self._device = next(model.parameters()).device
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._masters = [weight.detach().float().clone().requires_grad_() for weight in self._weights]
        self._optimiser = torch.optim.AdamW(self._masters, lr=0.0, betas=_BETAS, weight_decay=0.0)
        self._world = dist.get_world_size() if dist.is_initialized() else 1

    def step(self, rows: Sequence[Row], rate: float) -> tuple[float, int]:
        """One step on this worker's rows (possibly none): mean loss per answer token, and tokens, over all workers."""
        loss_sum, counts = torch.zeros((), device=self._device), [0, 0]
        if rows:
            batch = collate(rows, self._pad).to(self._device)
            loss_sum = torch.nn.functional.cross_entropy(
                answer_logits(self._model, batch), batch.targets, reduction="sum"
            )
            loss_sum.backward()
            counts = [len(batch.targets), batch.tokens]
        sums = torch.tensor([float(loss_sum.detach()), *map(float, counts)], device=self._device)  # NCCL takes GPUs'
        loss, answers, tokens = self._summed(sums).tolist()
        self._collect(answers)
        torch.nn.utils.clip_grad_norm_(self._masters, _MAX_GRADIENT_NORM)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad()
        with torch.no_grad():
            for weight, master in zip(self._weights, self._masters, strict=True):
                weight.copy_(master)
        return loss / answers, int(tokens)

    def _collect(self, answers: float) -> None:
        """Moves the gradients to the masters, per answer token and, with several workers, summed in one exchange."""
        flat = torch.cat(
            [
                (torch.zeros_like(weight) if weight.grad is None else weight.grad).float().flatten()
                for weight in self._weights
            ]
        )
        flat = self._summed(flat) / answers
        at = 0
        for weight, master in zip(self._weights, self._masters, strict=True):
            master.grad = flat[at : at + weight.numel()].view_as(master)
            at += weight.numel()
            weight.grad = None

    def _summed(self, values: torch.Tensor) -> torch.Tensor:
        if self._world > 1:
            dist.all_reduce(values)
        return values
