"""The run that carries a retraining request out: its name and its parameters, whichever place it runs in. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput
from tidegate.plane_settings import RetrainingSettings

PIPELINE: Final = "retrain"
ANY_DEPLOYMENT: Final = "*"
_VARIABLE: Final = "TIDEGATE_RETRAINING__PARAMETERS"
_OF_THE_REQUEST: Final = frozenset({"deployment", "model_name", "trigger", "run_name"})


class ImpossibleRequest(InvalidInput):
    """A request that no run can carry out, however often it is tried."""


def run_name(request: RetrainRequest) -> str:
    """The run of the request's current attempt: its key, with a number after the first."""
    return request.key if request.attempts == 0 else f"{request.key}.{request.attempts + 1}"


def retrain_arguments(
    request: RetrainRequest, settings: RetrainingSettings, said: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Parameters of the pipeline `retrain` for a request. What serves and which rows are new, its first step finds.

    Args:
        said: by a person; it wins over the settings, and None is not said.

    Raises:
        ImpossibleRequest: the request names no deployment.
        InvalidInput: the settings cannot be read, or what is said is the request's to say.
    """
    if request.deployment is None:
        raise ImpossibleRequest(
            f"retraining request {request.key} names no deployment",
            next_step="Give the alert a label 'deployment'; the new rows are those of its traffic.",
        )
    by_deployment = _read(settings.parameters)
    chosen = {
        **by_deployment.get(ANY_DEPLOYMENT, {}),
        **by_deployment.get(request.deployment, {}),
        **{name: value for name, value in said.items() if value is not None},
    }
    foreign = sorted(chosen.keys() & _OF_THE_REQUEST)
    if foreign:
        raise InvalidInput(
            f"parameter {foreign[0]!r} = {chosen[foreign[0]]!r} is what retraining request {request.key} says itself",
            next_step=f"Leave it out, also of {_VARIABLE}.",
        )
    return {
        **chosen,
        "deployment": request.deployment,
        "model_name": request.model,
        "trigger": request.key,
        "run_name": run_name(request),
    }


def _read(text: str) -> dict[str, dict[str, Any]]:
    """Not when settings are loaded, which everything does: what is wrong here is of no concern to a gateway."""
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise _unreadable(text, f"it is no JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(given, dict) for given in found.values()):
        raise _unreadable(text, "it is no mapping of deployments to parameters")
    return found


def _unreadable(text: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{_VARIABLE}={text!r} cannot be used: {why}",
        next_step='Write for example {"*": {"max_steps": 200}}, where * is any deployment.',
    )
