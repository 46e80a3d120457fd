"""Reads a request body and parses it as JSON, strictly: size, media type, UTF-8, depth, numbers, surrogates."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from serving.gateway.openai_errors import ApiError, bad_request

MAX_DEPTH = 32
READ_SECONDS = 30.0
_MAX_NUMBER_DIGITS = 100


async def read_json(request: Request, max_bytes: int) -> Any:
    """The body's JSON value.

    Raises:
        ApiError: 408 when it does not arrive within `READ_SECONDS`; 415 for another media type or a content encoding;
            413 above `max_bytes` (checked while it streams in); 400 for an empty body, invalid UTF-8, invalid JSON, NaN
            or infinity, nesting deeper than `MAX_DEPTH`.
    """
    _require_json(request)
    return parse_json(await _read(request, max_bytes))


def parse_json(data: bytes) -> Any:
    if not data.strip():
        raise bad_request("The request body is empty. Send a JSON object.", code="invalid_json")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request(
            f"The request body is not valid UTF-8 (byte {error.start}). Encode it as UTF-8.", code="invalid_utf8"
        ) from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_bounded_int)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise bad_request(
            f"We could not parse the JSON body of your request: {error.msg} at line {error.lineno}, "
            f"column {error.colno}. Send a JSON object.",
            code="invalid_json",
        ) from None
    _check(value)
    return value


def _require_json(request: Request) -> None:
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.lower().partition("charset=")[2].strip().strip('"')
    if media.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        given = request.headers.get("content-type", "")[:100]
        message = f"Unsupported content type {given!r}. Send 'content-type: application/json' in UTF-8."
        raise ApiError(415, message, code="unsupported_media_type")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        message = f"Unsupported content encoding {encoding[:50]!r}. Send the body uncompressed."
        raise ApiError(415, message, code="unsupported_content_encoding")


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    data = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise ApiError(
            408,
            f"The request body did not arrive within {READ_SECONDS:g} s. Send it again.",
            code="body_timeout",
            headers={"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise bad_request("The connection ended before the whole body had arrived.", code="incomplete_body") from None
    return bytes(data)


def _too_large(max_bytes: int) -> ApiError:
    # The rest of the body is not read: the connection cannot be used again.
    return ApiError(
        413,
        f"The request body is larger than {max_bytes} bytes. Send less.",
        code="request_too_large",
        headers={"connection": "close"},
    )


def _too_deep() -> ApiError:
    return bad_request(f"The JSON body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")


def _refuse_constant(name: str) -> NoReturn:
    raise bad_request(f"The JSON body contains {name}, which is not JSON. Send a finite number.", code="invalid_json")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise bad_request(f"The number {text[:40]} is out of range.", code="invalid_json")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > _MAX_NUMBER_DIGITS:
        raise bad_request(f"The number {text[:40]}… is out of range.", code="invalid_json")
    return int(text)


def _check(value: Any) -> None:
    """Depth, and strings that JSON can write but UTF-8 cannot (a lone surrogate) or databases refuse (NUL)."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, list):
                inner.extend(item)
            elif isinstance(item, dict):
                inner.extend(item.keys())
                inner.extend(item.values())
        if not inner:
            return
        level = inner
    raise _too_deep()


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise bad_request("The JSON body contains the character U+0000. Leave it out.", code="invalid_text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request(
            "The JSON body contains a lone surrogate, which is no character. Send whole characters.",
            code="invalid_text",
        ) from None
