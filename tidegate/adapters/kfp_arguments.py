"""Checks a run's arguments against the pipeline's parameters, before KFP meets them. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.errors import InvalidInput

_TYPES: Mapping[str, tuple[type, ...]] = {
    "String": (str,),
    "Integer": (int,),
    "Float": (int, float),
    "Boolean": (bool,),
    "Dict": (dict,),
    "List": (list,),
}
"""KFP's parameter types as Python's; what JSON gives."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A pipeline's parameter: KFP's type name, and whether it must be given."""

    type: str
    required: bool


def check_arguments(pipeline: str, parameters: Mapping[str, Parameter], arguments: Mapping[str, Any]) -> None:
    """Every argument is a parameter of the pipeline and of its type, and none that is required lacks.

    Raises:
        InvalidInput: names the argument, its value, and what the pipeline takes.
    """
    for name, value in arguments.items():
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InvalidInput(
                f"pipeline {pipeline!r} has no parameter {name!r}",
                next_step=f"{hint}It takes {', '.join(sorted(parameters))}.",
            )
        wanted = _TYPES.get(parameters[name].type, (object,))
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise InvalidInput(
                f"parameter {name!r} of pipeline {pipeline!r} is {value!r}, which is no {parameters[name].type}",
                next_step="Give a value of that type; on the command line, as JSON.",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(
                f"parameter {name!r} of pipeline {pipeline!r} is {value}",
                next_step="Give a number; JSON knows no other.",
            )
        if (place := _null(value, name)) is not None:
            raise InvalidInput(f"{place} of pipeline {pipeline!r} is null", next_step="Leave it out instead.")
    lacking = sorted(name for name, item in parameters.items() if item.required and name not in arguments)
    if lacking:
        raise InvalidInput(
            f"pipeline {pipeline!r} needs the parameter(s) {', '.join(lacking)}", next_step="Give them a value."
        )


def _null(value: Any, place: str) -> str | None:
    """Where a value holds a null, which KFP cannot pass on."""
    if value is None:
        return place
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = [(f"{place}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{place}[{at}]", item) for at, item in enumerate(value)]
    return next((found for key, item in items if (found := _null(item, key)) is not None), None)
