"""From bytes to a JSON document that is safe to keep: bounded, UTF-8, finite numbers, no nesting bomb."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from monitoring.alerts.sources.base import InvalidDelivery

MAX_BODY_BYTES = 4 << 20
MAX_DEPTH = 32
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_RESEND = "Send the source's JSON payload unchanged."


def parse_json(body: bytes) -> Any:
    """The document of a body.

    Raises:
        InvalidDelivery: for anything that is not strict JSON of bounded depth; the reason is in the error.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidDelivery(f"the body is not UTF-8: byte {error.start} is wrong", next_step=_RESEND) from None
    if _depth_exceeds(text, MAX_DEPTH):
        raise InvalidDelivery(f"the body nests deeper than {MAX_DEPTH} levels", next_step=_RESEND)
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except InvalidDelivery:
        raise
    except (ValueError, RecursionError) as error:  # ValueError covers integers of more digits than Python parses
        raise InvalidDelivery(f"the body is not JSON: {error}", next_step=_RESEND) from None
    _refuse_unstorable(text, document)
    return document


def _depth_exceeds(text: str, limit: int) -> bool:
    """Whether brackets nest deeper than the limit; brackets inside strings do not count."""
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > limit:
            return True
    return False


def _refuse_unstorable(text: str, document: Any) -> None:
    """Half surrogate pairs have no UTF-8 form, and PostgreSQL keeps no NUL: both come in only by escapes."""
    if "\\u" not in text:
        return
    plain = json.dumps(document, ensure_ascii=False)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise InvalidDelivery("the body holds half of a surrogate pair", next_step=_RESEND) from None
    if "\\u0000" in plain:
        raise InvalidDelivery("the body holds the character NUL", next_step=_RESEND)


def _no_constant(name: str) -> NoReturn:
    raise InvalidDelivery(f"the body holds {name}, which JSON does not have", next_step=_RESEND)
