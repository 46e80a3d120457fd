"""Messages to tokens: one piece of code for training, evaluation and serving.

The chat template makes the prompt; the answer is what the model shall add to it. Training therefore sees exactly the
token sequence that the engine later generates from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.domain.example import Message


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of the conversation with the opening of the assistant's turn, as the chat template writes it.

    Control tokens that a user typed (`<|im_end|>`) stay text: nobody can close their own turn and write another's.
    """
    turns = [{"role": message.role, "content": _defused(tokenizer, message.content)} for message in messages]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    return [int(token) for token in ids]


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of an answer and of the end of the turn: what completion-only training is graded on."""
    ids = tokenizer(_defused(tokenizer, answer), add_special_tokens=False)["input_ids"]
    return [*(int(token) for token in ids), int(tokenizer.eos_token_id)]


def _defused(tokenizer: Any, text: str) -> str:
    for token in tokenizer.all_special_tokens:
        if token in text:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text
