"""The OpenAI API's answers: whole objects and stream chunks, under the logical model name and our request id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from serving.gateway.engine_wire import Answer, EngineFailure
from serving.gateway.openai_errors import ApiError
from serving.gateway.validation import Kind

DONE = b"data: [DONE]\n\n"
_NAMES: dict[Kind, tuple[str, str, str]] = {
    "chat": ("chatcmpl-", "chat.completion", "chat.completion.chunk"),
    "text": ("cmpl-", "text_completion", "text_completion"),
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all answers and chunks of one request carry.

    Args:
        created: Unix time in seconds.
        fingerprint: names the adapter's content, so that a client can see when the answering model changed.
    """

    kind: Kind
    request_id: str
    model: str
    created: int
    fingerprint: str

    def whole(self, answer: Answer) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": answer.finish_reason}
        if self.kind == "chat":
            choice["message"] = {"role": "assistant", "content": answer.text, "refusal": None}
        else:
            choice["text"] = answer.text
        usage = _usage(answer.prompt_tokens, answer.completion_tokens)
        return self._head(streamed=False) | {"choices": [choice], "usage": usage}

    def first_chunk(self) -> bytes:
        """Chat streams begin with the role; text streams begin with text."""
        return self._delta({"role": "assistant", "content": ""}, None) if self.kind == "chat" else b""

    def chunk(self, text: str, finish_reason: str | None) -> bytes:
        if self.kind == "chat":
            return self._delta({"content": text} if text else {}, finish_reason)
        return self._event([{"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}])

    def usage_chunk(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """The extra chunk of `include_usage`: no choices."""
        return self._event([], _usage(prompt_tokens, completion_tokens))

    def _delta(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        return self._event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        return event(self._head(streamed=True) | {"choices": choices, "usage": usage})

    def _head(self, *, streamed: bool) -> dict[str, Any]:
        prefix, whole, chunk = _NAMES[self.kind]
        return {
            "id": f"{prefix}{self.request_id}",
            "object": chunk if streamed else whole,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def event(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def failure_error(failure: EngineFailure) -> ApiError:
    """What the client is told when no arm answered."""
    if failure.client_fault:
        error = failure.error or {}
        return ApiError(
            failure.status or 400,
            str(error.get("message") or "The model refused the request."),
            param=_text_or_none(error.get("param")),
            code=_text_or_none(error.get("code")),
        )
    if failure.kind == "timeout":
        return ApiError(504, "The model did not answer in time. Try again.", type="server_error", code="engine_timeout")
    if failure.kind == "invalid":
        return ApiError(
            502, "The model's engine sent an unusable answer. Try again.", type="server_error", code="engine_invalid"
        )
    return ApiError(
        503,
        "The model's engine is not available. Try again shortly.",
        type="server_error",
        code="engine_unavailable",
        headers={"retry-after": "1"},
    )


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
