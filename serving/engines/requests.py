"""What is asked of a generator and what it answers. Plain values: no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.domain.example import Message
from tidegate.errors import InvalidInput

FinishReason = Literal["stop", "length", "cancelled"]


class ContextLengthExceeded(InvalidInput):
    """Prompt and answer together do not fit into the model's window."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One prompt for one adapter.

    Args:
        adapter: id of a loaded adapter; None asks the bare base model.
        messages: the conversation, rendered with the chat template; or
        text: a prompt taken as it stands (`/v1/completions`). Exactly one of the two.
        max_tokens: of the answer; None takes what the window leaves.
        temperature: 0 is greedy.
        top_p: nucleus sampling (Holtzman et al. 2020, section 3.1); 1 keeps the whole distribution.
        stop: texts at which the answer ends; they are not part of it.
        seed: makes the sampling repeatable as far as the arithmetic is (it varies with the batch in bf16).
    """

    adapter: str | None = None
    messages: Sequence[Message] = ()
    text: str | None = None
    max_tokens: int | None = 16
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationResult:
    """A finished answer. `completion_tokens` counts the end token too, when the model gave one."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True)
class Delta:
    """New text of one row after a step; `result` is there with the last one."""

    row: int
    text: str
    result: GenerationResult | None = None
