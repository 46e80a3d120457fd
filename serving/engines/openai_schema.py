"""The part of OpenAI's HTTP API that engines speak: requests, answers and the error object. Pydantic only.

What would change the answer and is not supported is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegate.domain.example import Message
from tidegate.errors import TidegateError

_MAX_STOPS = 4
_MAX_SEED = (1 << 63) - 1
_UNSUPPORTED = {  # request fields of OpenAI that would change the answer, and the values that leave it alone
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": (),
    "web_search_options": (),
}


class ApiError(Exception):
    """An error as OpenAI's clients read it.

    Args:
        status: HTTP status.
        message: what is wrong, for people.
        kind: `error.type`.
        param: the request field at fault.
        code: `error.code`, for programs.
        retry_after: seconds after which trying again can succeed.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    @classmethod
    def of(
        cls, error: TidegateError, status: int = 400, *, param: str | None = None, code: str | None = None
    ) -> ApiError:
        """An error of the platform, told to a client."""
        return cls(status, str(error), param=param, code=code)


def model_not_found(model: str) -> ApiError:
    """404: no such model id."""
    return ApiError(404, f"The model {model!r} does not exist or is not loaded.", param="model", code="model_not_found")


def server_error(message: str, status: int = 500) -> ApiError:
    """The engine's fault, not the client's."""
    return ApiError(status, message, kind="server_error", code="engine_error")


def overloaded(retry_after: int = 1) -> ApiError:
    """503: the queue is full."""
    return ApiError(
        503,
        f"The engine is overloaded: its queue is full. Try again in {retry_after} s.",
        kind="server_error",
        code="overloaded",
        retry_after=retry_after,
    )


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Request):
    type: Literal["text"]
    text: str


class ChatMessage(_Request):
    """One turn. Content in parts is joined; parts other than text are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(min_length=1)] | Annotated[tuple[TextPart, ...], Field(min_length=1)]
    name: str | None = None

    def message(self) -> Message:
        """The turn as the chat template takes it ("developer" is the newer word for "system")."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class StreamOptions(_Request):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Sampling(_Request):
    """What chat and text completions share."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    temperature: float = Field(default=1.0, ge=0.0, le=2.0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-_MAX_SEED, le=_MAX_SEED)
    stop: str | tuple[str, ...] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    # Say who asks; they do not touch the answer.
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_supported(cls, data: Any) -> Any:
        """Drops neutral values of unsupported fields; others stay and are refused as unknown fields."""
        if not isinstance(data, Mapping):
            return data
        return {
            name: value
            for name, value in data.items()
            if name in cls.model_fields or not (value is None or value in _UNSUPPORTED.get(name, ()))
        }

    @model_validator(mode="after")
    def _coherent(self) -> _Sampling:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed with stream=true")
        if len(self.stops) > _MAX_STOPS or "" in self.stops:
            raise ValueError(f"stop takes 1 to {_MAX_STOPS} texts that are not empty")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatCompletionRequest(_Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1)]
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def token_limit(self) -> int | None:
        """None means: whatever the window still holds."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionRequest(_Sampling):
    """`POST /v1/completions`. One prompt, as text."""

    prompt: Annotated[str, Field(min_length=1)] | Annotated[tuple[str], Field(min_length=1, max_length=1)]
    max_tokens: int = Field(default=16, ge=1)

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


RequestT = TypeVar("RequestT", bound=BaseModel)


def parse(kind: type[RequestT], body: bytes) -> RequestT:
    """The request in a body.

    Raises:
        ApiError: 400 that names the field, its value and what it should be.
    """
    try:
        return kind.model_validate_json(body, strict=False)
    except ValidationError as error:
        raise _explained(error) from None


def _explained(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    field = path[0] if path else None
    if first["type"] == "json_invalid":
        return ApiError(400, f"The body is not JSON: {first['msg']}.", code="invalid_json")
    if first["type"] == "missing":
        return ApiError(400, f"Missing required parameter: {field!r}.", param=field, code="missing_required_parameter")
    if first["type"] == "extra_forbidden" and len(path) == 1:
        if field in _UNSUPPORTED:
            message = f"Unsupported parameter: {field}={_short(first['input'])} is not supported by this engine."
            return ApiError(400, message, param=field, code="unsupported_parameter")
        return ApiError(400, f"Unknown parameter: {field!r}.", param=field, code="unknown_parameter")
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(part for part in path if part.isdigit() or part.islower()) or "request"
    return ApiError(
        400, f"Invalid value for {where!r}: {_short(first['input'])}: {message}.", param=field, code="invalid_value"
    )


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


# --- answers --------------------------------------------------------------------------------------------------------


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's `usage` object, in tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def model_list(models: Mapping[str, str], created: int) -> dict[str, Any]:
    """`GET /v1/models`: model id → id of its base, itself for the base."""
    return {"object": "list", "data": [model_card(name, base, created) for name, base in models.items()]}


def model_card(name: str, base: str, created: int) -> dict[str, Any]:
    """One entry of the list, with the base as vLLM's `parent`."""
    parent = None if name == base else base
    return {"id": name, "object": "model", "created": created, "owned_by": "tidegate", "parent": parent}
