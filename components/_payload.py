"""Reading a job's payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tidegate.errors import InvalidInput

Model = TypeVar("Model", bound=BaseModel)


def parse_payload(model: type[Model], payload: Mapping[str, Any]) -> Model:
    """The payload as its model.

    Raises:
        InvalidInput: names the field, its value and what is wrong with it.
    """
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InvalidInput(
            f"{model.__name__}: {field} = {first.get('input')!r:.200}: {first['msg']}{more}",
            next_step="Correct this parameter of the step.",
        ) from error
