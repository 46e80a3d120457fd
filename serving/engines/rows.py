"""A request on its way through the running batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.engines.requests import FinishReason, GenerationRequest, GenerationResult
from serving.engines.text import TextStream

if TYPE_CHECKING:
    from serving.engines.sampling import Sampler


@dataclass(kw_only=True)
class Row:
    """`cached` counts its tokens in the cache; 0 until its prompt has run."""

    id: int
    request: GenerationRequest
    prompt: list[int]
    limit: int
    sampler: Sampler
    stream: TextStream
    last: int = 0
    cached: int = 0
    generated: int = 0

    def result(self, reason: FinishReason) -> GenerationResult:
        """What it came to, ending for `reason` now."""
        return GenerationResult(
            text=self.stream.text,
            prompt_tokens=len(self.prompt),
            completion_tokens=self.generated,
            finish_reason=reason,
        )
