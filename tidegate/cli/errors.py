"""What a user sees of an error: one message, the next step, an exit code. A traceback only with `--debug`."""

from __future__ import annotations

import os
import sys
import traceback

from tidegate.errors import TidegateError

INTERRUPTED = 130
_USAGE = 2
_UNAVAILABLE = 5
_OWN_PACKAGES = ("tidegate", "components", "pipelines", "serving", "monitoring")


def report(error: BaseException) -> int:
    """Writes an error to stderr and returns the exit code."""
    if os.environ.get("TIDEGATE_DEBUG") and not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error, file=sys.stderr)
    problem, next_step, code = explain(error)
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the CLI's own output
    if next_step:
        print(f"next: {next_step}", file=sys.stderr)  # noqa: T201
    return code


def explain(error: BaseException) -> tuple[str, str, int]:
    """(problem, next step, exit code) of any error."""
    if isinstance(error, TidegateError):
        return error.problem, error.next_step, error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "", INTERRUPTED
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in _OWN_PACKAGES:
        return (
            f"the package {(error.name or '?').partition('.')[0]!r}, which this command needs, is not installed",
            "Install the parts of one machine: pip install 'tidegate[local]'.",
            _UNAVAILABLE,
        )
    validation = _validation_problem(error)
    if validation:
        return validation, "Correct these fields and try again.", _USAGE
    return (
        f"unexpected {type(error).__name__}: {error}",
        "Run the command again as 'tidegate --debug …' and report the traceback.",
        1,
    )


def _validation_problem(error: BaseException) -> str:
    """A pydantic ValidationError with a line per field; empty for any other error."""
    if type(error).__module__.partition(".")[0] not in ("pydantic", "pydantic_core"):
        return ""  # pydantic is imported only by who uses it
    from pydantic import ValidationError  # noqa: PLC0415

    if not isinstance(error, ValidationError):
        return ""
    count = error.error_count()
    lines = [f"{error.title} has {count} wrong field{'s' if count > 1 else ''}"]
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"]) or "(whole)"
        given = "" if item["type"] == "missing" or not item["loc"] else f", not {_short(item['input'])}"
        lines.append(f"  {path}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)


def _short(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"
