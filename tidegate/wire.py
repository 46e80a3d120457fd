"""What crosses a process or a pod's log: lines of progress, and errors that are raised again on the other side."""

from __future__ import annotations

import json
from typing import Any

from tidegate import errors
from tidegate.errors import TidegateError

ERROR_PREFIX = "tidegate-error "
"""Starts the one log line by which a failed step tells its runner why (a KFP API shows neither outputs nor errors)."""

_CLASSES = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, TidegateError)
}

PROGRESS_MARK = "» "
"""Starts a line of progress in a step's log, among what KFP's executor prints around it."""

KEEP_ALIVE_SECONDS = 75
"""How long our HTTP servers keep an idle connection (s): longer than load balancers do (60 s is usual), or a balancer
sends a request on a connection that is just being closed, and its user gets a 502."""


def error_to_dict(error: TidegateError) -> dict[str, str]:
    """A JSON form that keeps the class by name."""
    known = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _CLASSES)
    return {"class": known, "problem": error.problem, "next_step": error.next_step}


def error_from_dict(value: dict[str, Any]) -> TidegateError:
    """The error again; an unknown class (a newer writer) becomes the base class."""
    cls = _CLASSES.get(str(value.get("class")), TidegateError)
    return cls(str(value.get("problem", "unknown error")), next_step=str(value.get("next_step", "")))


def error_to_line(error: TidegateError) -> str:
    """One line for a step's log."""
    return ERROR_PREFIX + json.dumps(error_to_dict(error), ensure_ascii=False)


def error_from_line(line: str) -> TidegateError | None:
    """The error that a log line carries, or None when it is an ordinary line."""
    _, found, payload = line.partition(ERROR_PREFIX)
    if not found:
        return None
    try:
        value = json.loads(payload)
    except ValueError:
        return None
    return error_from_dict(value) if isinstance(value, dict) else None
