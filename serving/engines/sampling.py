"""From logits to the next token of every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampler:
    """How one row picks: greedily at temperature 0, else from the nucleus, with the row's own random stream."""

    temperature: float
    top_p: float
    random: torch.Generator | None

    @classmethod
    def of(cls, temperature: float, top_p: float, seed: int | None) -> Sampler:
        if temperature == 0.0:
            return cls(0.0, top_p, None)
        random = torch.Generator()
        if seed is None:
            random.seed()
        else:
            random.manual_seed(seed)
        return cls(temperature, top_p, random)


def pick(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of every row of (rows, vocabulary) logits."""
    tokens: list[int] = logits.argmax(-1).tolist()
    for row, sampler in enumerate(samplers):
        if sampler.temperature > 0.0:
            tokens[row] = _sample(logits[row], sampler)
    return tokens


def _sample(logits: torch.Tensor, sampler: Sampler) -> int:
    probabilities = torch.softmax(logits.float().cpu() / sampler.temperature, -1)
    if sampler.top_p < 1.0:
        ordered, index = probabilities.sort(descending=True)
        outside = ordered.cumsum(-1) - ordered >= sampler.top_p  # the first token always stays
        probabilities = probabilities.scatter(0, index[outside], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=sampler.random))
