"""Checks of single JSON fields, with the OpenAI API's wording and codes for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serving.gateway.openai_errors import ApiError, bad_request

MAX_KEY_CHARS = 256

Check = Callable[[Any, str], Any]


def optional(given: dict[str, Any], name: str, check: Check, *, default: Any = None) -> Any:
    return check(given[name], name) if name in given else default


def required(given: dict[str, Any], name: str, check: Check) -> Any:
    if name not in given:
        raise missing(name)
    return check(given[name], name)


def boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)
    return value


def key(value: Any, path: str) -> str:
    """A short identifier: not empty, no control characters."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    if not 0 < len(value) <= MAX_KEY_CHARS:
        raise bad_request(
            f"'{path}' must have 1 to {MAX_KEY_CHARS} characters, not {len(value)}.", param=path, code="invalid_value"
        )
    if not value.isprintable():
        raise bad_request(f"'{path}' contains control characters.", param=path, code="invalid_value")
    return value


def integer(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(path, "an integer", value)
        if not low <= value <= high:
            raise _out_of_range(path, value, low, high)
        return value

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise wrong_type(path, "a number", value)
        if not low <= value <= high:
            raise _out_of_range(path, value, low, high)
        return float(value)

    return check


def missing(path: str) -> ApiError:
    return bad_request(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def wrong_type(path: str, wanted: str, value: Any) -> ApiError:
    return bad_request(
        f"Invalid type for '{path}': expected {wanted}, but got {type_name(value)} instead.",
        param=path,
        code="invalid_type",
    )


def _out_of_range(path: str, value: float, low: float, high: float) -> ApiError:
    return bad_request(f"Invalid '{path}': {value} is not between {low} and {high}.", param=path, code="invalid_value")


def type_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
