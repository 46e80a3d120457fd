"""How answers are written: whole, or as the chunks of a stream."""

from __future__ import annotations

import time
from typing import Any

from serving.engines.openai_schema import usage
from serving.engines.requests import GenerationResult
from tidegate.ids import new_id


class Shape:
    """How an answer is written: chat and text completions differ in their names."""

    kind: str
    chunk_kind: str
    prefix: str

    def __init__(self, model: str) -> None:
        self._head = {"id": f"{self.prefix}-{new_id()}", "created": int(time.time()), "model": model}

    def opening(self) -> list[dict[str, Any]]:
        return []

    def whole(self, result: GenerationResult) -> dict[str, Any]:
        choice = {**self._answer(result.text), "index": 0, "logprobs": None, "finish_reason": result.finish_reason}
        counts = usage(result.prompt_tokens, result.completion_tokens)
        return {**self._head, "object": self.kind, "choices": [choice], "usage": counts}

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk(self._part(text), None)

    def closing(self, reason: str) -> dict[str, Any]:
        return self._chunk(self._part(""), reason)

    def usage(self, result: GenerationResult) -> dict[str, Any]:
        """The one extra chunk of `include_usage`: no choices."""
        counts = usage(result.prompt_tokens, result.completion_tokens)
        return {**self._head, "object": self.chunk_kind, "choices": [], "usage": counts}

    def _chunk(self, part: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {**part, "index": 0, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": self.chunk_kind, "choices": [choice]}

    def _answer(self, text: str) -> dict[str, Any]:
        raise NotImplementedError

    def _part(self, text: str) -> dict[str, Any]:
        raise NotImplementedError


class ChatShape(Shape):
    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> list[dict[str, Any]]:
        return [self._chunk({"delta": {"role": "assistant", "content": ""}}, None)]

    def _answer(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _part(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}


class TextShape(Shape):
    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def _answer(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _part(self, text: str) -> dict[str, Any]:
        return {"text": text}
