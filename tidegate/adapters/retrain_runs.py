"""The run that carries a retraining request out: its name and its parameters, whichever place it runs in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput
from tidegate.plane_settings import ANY_DEPLOYMENT, OF_THE_REQUEST

PIPELINE: Final = "retrain"


class ImpossibleRequest(InvalidInput):
    """A request that no run can carry out, however often it is tried."""


def run_name(request: RetrainRequest) -> str:
    """The run of the request's current attempt: its key, with a number after the first."""
    return request.key if request.attempts == 0 else f"{request.key}.{request.attempts + 1}"


def retrain_arguments(
    request: RetrainRequest, parameters: Mapping[str, Mapping[str, Any]], said: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Parameters of the pipeline `retrain` for a request. What serves and which rows are new, its first step finds.

    Args:
        parameters: by deployment, see `RetrainingSettings.parameters`.
        said: by a person; it wins, and None is not said.

    Raises:
        InvalidInput: what is said is the request's to say.
        ImpossibleRequest: the request names no deployment.
    """
    if request.deployment is None:
        raise ImpossibleRequest(
            f"retraining request {request.key} names no deployment",
            next_step="Give the alert a label 'deployment'; the new rows are those of its traffic.",
        )
    foreign = sorted(said.keys() & OF_THE_REQUEST)
    if foreign:
        raise InvalidInput(
            f"parameter {foreign[0]!r} is what retraining request {request.key} says itself",
            next_step="Leave it out.",
        )
    return {
        **parameters.get(ANY_DEPLOYMENT, {}),
        **parameters.get(request.deployment, {}),
        **{name: value for name, value in said.items() if value is not None},
        "deployment": request.deployment,
        "model_name": request.model,
        "trigger": request.key,
        "run_name": run_name(request),
    }
