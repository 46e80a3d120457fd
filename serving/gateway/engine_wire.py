"""What engines are sent and what they answer: OpenAI's chat completions, and every way in which an answer is none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from serving.gateway.validation import Ask
from tidegate.domain.evidence import ArmOutcome
from tidegate.domain.example import Message
from tidegate.domain.routing import Arm

FailureKind = Literal["connect", "status", "timeout", "invalid", "interrupted"]
_MAX_DETAIL = 500
_CLIENT_FAULTS = frozenset({400, 413, 422})
_TEMPORARY = frozenset({429, 500, 502, 503, 504})


class EngineFailure(Exception):
    """An engine did not answer, or not with an answer.

    Attributes:
        kind: `connect` (no connection), `status` (an HTTP error), `timeout`, `invalid` (not the contract's answer),
            `interrupted` (the answer broke off).
        status: the HTTP status, when there was one.
        error: the engine's own error object, when it sent one.
    """

    def __init__(
        self, kind: FailureKind, detail: str, *, status: int | None = None, error: dict[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail[:_MAX_DETAIL]
        self.status = status
        self.error = error

    @property
    def outcome(self) -> ArmOutcome:
        if self.kind == "timeout":
            return "timeout"
        return "invalid" if self.kind == "invalid" else "error"

    @property
    def client_fault(self) -> bool:
        """The engine refused the request itself: too long for the model, for example."""
        return self.kind == "status" and self.status in _CLIENT_FAULTS

    @property
    def temporary(self) -> bool:
        """Asking again may help: a replica restarts, or the engine is full for a moment."""
        return self.kind in ("connect", "interrupted") or (self.kind == "status" and self.status in _TEMPORARY)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed answer."""

    text: str = ""
    finish_reason: str | None = None
    usage: tuple[int, int] | None = None


def request_body(arm: Arm, messages: Sequence[Message], ask: Ask, *, stream: bool) -> dict[str, Any]:
    """The engine's request. The version's defaults hold where the client is silent; `max_tokens` may only narrow."""
    defaults = arm.generation
    payload: dict[str, Any] = {
        "model": arm.adapter,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "max_tokens": min(ask.max_tokens or defaults.max_tokens, defaults.max_tokens),
        "temperature": defaults.temperature if ask.temperature is None else ask.temperature,
    }
    stops = list(dict.fromkeys((*defaults.stop, *ask.stop)))
    if stops:
        payload["stop"] = stops
    if ask.seed is not None:
        payload["seed"] = ask.seed
    if stream:
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    return payload


def read_answer(body: bytes) -> Answer:
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        text = choice["message"]["content"]
        usage = value["usage"]
        answer = Answer(
            text=text,
            finish_reason=choice["finish_reason"],
            prompt_tokens=int(usage["prompt_tokens"]),
            completion_tokens=int(usage["completion_tokens"]),
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EngineFailure("invalid", f"the engine's answer is no chat completion: {error!r}") from None
    if not isinstance(answer.text, str) or not isinstance(answer.finish_reason, str):
        raise EngineFailure("invalid", "the engine's answer has no text or no finish_reason")
    return answer


def read_piece(data: str) -> Piece:
    try:
        value = json.loads(data)
        if value.get("error"):
            error = value["error"]
            message = str(error.get("message", error) if isinstance(error, dict) else error)
            raise EngineFailure("interrupted", f"the engine reported: {message}")
        usage = value.get("usage")
        choices = value["choices"]
        delta = choices[0].get("delta") or {} if choices else {}
        text = delta.get("content") or ""
        reason = choices[0].get("finish_reason") if choices else None
        tokens = (int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise EngineFailure("invalid", f"the engine sent a chunk that is none: {error!r}") from None
    if not isinstance(text, str) or not isinstance(reason, str | None):
        raise EngineFailure("invalid", "the engine sent a chunk with a wrong type")
    return Piece(text=text, finish_reason=reason, usage=tokens)


def transport_failure(error: httpx.HTTPError) -> EngineFailure:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return EngineFailure("connect", what)
    return EngineFailure("interrupted", what)


def status_failure(status: int, body: bytes) -> EngineFailure:
    try:
        error = json.loads(body)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return EngineFailure("status", f"HTTP {status}: {body[:200].decode(errors='replace')}", status=status)
    return EngineFailure("status", f"HTTP {status}: {message}", status=status, error=error)
