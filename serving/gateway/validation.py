"""Turns a parsed body into an `Ask`: what the client wants, checked field by field.

Nothing is silently ignored: a parameter that would change the answer and that no engine here honours is refused with
`unsupported_parameter`; its null, empty or default value is accepted, because clients send those by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from serving.gateway.fields import boolean, integer, key, missing, number, optional, required, type_name, wrong_type
from serving.gateway.openai_errors import bad_request, unsupported
from tidegate.domain.example import Message

MAX_MESSAGES = 128
MAX_STOPS = 4
MAX_STOP_CHARS = 64
MAX_METADATA = 16
MAX_METADATA_CHARS = 512
MAX_TOKENS = 1 << 20

Kind = Literal["chat", "text"]
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

# Accepted and used.
_COMMON = {
    "model", "stream", "stream_options", "max_tokens", "temperature", "stop", "seed", "user", "metadata",
    "safety_identifier",
}  # fmt: skip
_OWN: dict[Kind, set[str]] = {"chat": {"messages", "max_completion_tokens"}, "text": {"prompt"}}
# Accepted without effect on the answer: hints about billing, storage and caching at OpenAI.
_HINTS = {"store", "service_tier", "prompt_cache_key", "prompt_cache_retention"}
# Known to the API, honoured by no engine here: only the value that means "no effect" is accepted.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "top_p": (1, 1.0),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logprobs": (False,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "top_logprobs": (0,),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
    "moderation": (),
}
_MESSAGE_EXTRAS = ("name", "refusal", "annotations", "audio", "tool_calls", "function_call", "tool_call_id")


@dataclass(frozen=True, slots=True)
class Ask:
    """A valid request. Lengths in tokens; `None` means that the version's generation default holds."""

    kind: Kind
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    user: str | None = None
    customer: str | None = None

    @property
    def first_turn(self) -> bool:
        """Exactly one user turn and no answer yet: what may be mirrored, since no answer shaped it."""
        return [m.role for m in self.messages if m.role != "system"] == ["user"]

    @property
    def text(self) -> str:
        """The last user turn."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


def parse_ask(body: Any, kind: Kind) -> Ask:
    """The request, or what is wrong with it.

    Raises:
        ApiError: 400, with `param` naming the field.
    """
    if not isinstance(body, dict):
        raise bad_request(f"The request body must be a JSON object, not {type_name(body)}.", code="invalid_type")
    given = {name: value for name, value in body.items() if value is not None}
    _refuse_unsupported(given, kind)
    stream = optional(given, "stream", boolean, default=False)
    identifier = optional(given, "safety_identifier", key) or optional(given, "user", key)
    return Ask(
        kind=kind,
        model=required(given, "model", key),
        messages=_messages(given) if kind == "chat" else (_prompt(given),),
        stream=stream,
        include_usage=_include_usage(given, stream=stream),
        max_tokens=_max_tokens(given),
        temperature=optional(given, "temperature", number(0.0, 2.0)),
        stop=_stops(given),
        seed=optional(given, "seed", integer(-(1 << 63), (1 << 63) - 1)),
        user=identifier,
        customer=_customer(given),
    )


def _refuse_unsupported(given: dict[str, Any], kind: Kind) -> None:
    for name, value in given.items():
        if name in _COMMON or name in _OWN[kind] or name in _HINTS:
            continue
        if name not in _NEUTRAL:
            shown = name[:80]
            raise bad_request(f"Unrecognized request argument supplied: {shown}", param=shown, code="unknown_parameter")
        if not any(_same(value, neutral) for neutral in _NEUTRAL[name]):
            raise unsupported(name, f"with value {str(value)[:80]!r} is not supported by this model. Leave it out.")


def _same(value: Any, neutral: Any) -> bool:
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)


# --- messages -------------------------------------------------------------------------------------------------------


def _messages(given: dict[str, Any]) -> tuple[Message, ...]:
    raw = given.get("messages")
    if raw is None:
        raise missing("messages")
    if not isinstance(raw, list):
        raise wrong_type("messages", "an array", raw)
    if not raw:
        raise bad_request("'messages' is empty. Send at least one user message.", param="messages", code="empty_array")
    if len(raw) > MAX_MESSAGES:
        raise bad_request(
            f"'messages' has {len(raw)} items; at most {MAX_MESSAGES} are allowed.",
            param="messages",
            code="array_above_max_length",
        )
    messages = tuple(_message(item, f"messages[{index}]") for index, item in enumerate(raw))
    if not any(message.role == "user" for message in messages):
        raise bad_request("'messages' has no user message. Add one.", param="messages", code="invalid_value")
    return messages


def _message(item: Any, path: str) -> Message:
    if not isinstance(item, dict):
        raise wrong_type(path, "an object", item)
    if "role" not in item:
        raise missing(f"{path}.role")
    role = item["role"]
    if not isinstance(role, str):
        raise wrong_type(f"{path}.role", "a string", role)
    if role not in _ROLES:
        raise bad_request(
            f"Invalid value: {role[:40]!r}. Supported values are: {', '.join(sorted(_ROLES))}.",
            param=f"{path}.role",
            code="invalid_value",
        )
    for name, value in item.items():
        if name in ("role", "content") or (name in _MESSAGE_EXTRAS and not value):
            continue
        if name in _MESSAGE_EXTRAS:
            raise unsupported(f"{path}.{name}", "is not supported by this model. Leave it out.")
        raise bad_request(
            f"Unknown parameter: '{path}.{name[:80]}'.", param=f"{path}.{name[:80]}", code="unknown_parameter"
        )
    if item.get("content") is None:
        raise missing(f"{path}.content")
    content = _content(item["content"], f"{path}.content")
    if not content.strip():
        raise bad_request(f"'{path}.content' is empty. Send some text.", param=f"{path}.content", code="empty_string")
    return Message.model_validate({"role": _ROLES[role], "content": content})


def _content(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong_type(path, "a string or an array of text parts", value)
    texts = []
    for index, part in enumerate(value):
        here = f"{path}[{index}]"
        if not isinstance(part, dict):
            raise wrong_type(here, "an object", part)
        if part.get("type") != "text":
            raise unsupported(
                f"{here}.type", f"has the value {str(part.get('type'))[:40]!r}; only 'text' is supported."
            )
        if not isinstance(part.get("text"), str):
            raise wrong_type(f"{here}.text", "a string", part.get("text"))
        texts.append(part["text"])
    return "".join(texts)


def _prompt(given: dict[str, Any]) -> Message:
    raw = given.get("prompt")
    if raw is None:
        raise missing("prompt")
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], str):
        raw = raw[0]
    if isinstance(raw, list):
        raise unsupported("prompt", "takes one string here: several prompts and token arrays are not supported.")
    if not isinstance(raw, str):
        raise wrong_type("prompt", "a string", raw)
    if not raw.strip():
        raise bad_request("'prompt' is empty. Send some text.", param="prompt", code="empty_string")
    return Message(role="user", content=raw)


# --- scalars --------------------------------------------------------------------------------------------------------


def _max_tokens(given: dict[str, Any]) -> int | None:
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise bad_request(
            "Give either 'max_tokens' or 'max_completion_tokens', not both.", param="max_tokens", code="invalid_value"
        )
    check = integer(1, MAX_TOKENS)
    limit: int | None = optional(given, "max_tokens", check) or optional(given, "max_completion_tokens", check)
    return limit


def _stops(given: dict[str, Any]) -> tuple[str, ...]:
    raw = given.get("stop", [])
    stops = [raw] if isinstance(raw, str) else raw
    if not isinstance(stops, list):
        raise wrong_type("stop", "a string or an array of strings", raw)
    if len(stops) > MAX_STOPS:
        raise bad_request(
            f"'stop' has {len(stops)} items; at most {MAX_STOPS}.", param="stop", code="array_above_max_length"
        )
    for index, stop in enumerate(stops):
        if not isinstance(stop, str):
            raise wrong_type(f"stop[{index}]", "a string", stop)
        if not 0 < len(stop) <= MAX_STOP_CHARS:
            raise bad_request(
                f"'stop[{index}]' must have 1 to {MAX_STOP_CHARS} characters.",
                param=f"stop[{index}]",
                code="invalid_value",
            )
    return tuple(stops)


def _include_usage(given: dict[str, Any], *, stream: bool) -> bool:
    options = given.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not stream:
        raise bad_request(
            "'stream_options' is only allowed when 'stream' is true.", param="stream_options", code="invalid_value"
        )
    for name, value in options.items():
        if name not in ("include_usage", "include_obfuscation"):
            path = f"stream_options.{name[:80]}"
            raise bad_request(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")
        if value is not None and not isinstance(value, bool):
            raise wrong_type(f"stream_options.{name}", "a boolean", value)
    if options.get("include_obfuscation"):
        raise unsupported("stream_options.include_obfuscation", "is not supported by this model. Leave it out.")
    return bool(options.get("include_usage"))


def _customer(given: dict[str, Any]) -> str | None:
    metadata = given.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise wrong_type("metadata", "an object", metadata)
    if len(metadata) > MAX_METADATA:
        raise bad_request(
            f"'metadata' has {len(metadata)} keys; at most {MAX_METADATA}.", param="metadata", code="invalid_value"
        )
    for name, value in metadata.items():
        path = f"metadata.{name[:80]}"
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if len(name) > 64 or len(value) > MAX_METADATA_CHARS:
            raise bad_request(
                f"'{path}' is too long: 64 characters a key, {MAX_METADATA_CHARS} a value.",
                param=path,
                code="string_above_max_length",
            )
    customer = metadata.get("customer_id")
    return key(customer, "metadata.customer_id") if customer is not None else None
