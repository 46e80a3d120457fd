"""The run that carries a retraining request out: its name and its parameters, whichever place it runs in. Pure."""

from __future__ import annotations

from typing import Any, Final

from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput

PIPELINE: Final = "retrain"


class ImpossibleRequest(InvalidInput):
    """A request that no run can carry out, however often it is tried."""


def run_name(request: RetrainRequest) -> str:
    """The run of the request's current attempt: its key, with a number after the first."""
    return request.key if request.attempts == 0 else f"{request.key}.{request.attempts + 1}"


def retrain_arguments(
    request: RetrainRequest, *, customer_pool: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Parameters of the pipeline `retrain` for a request. What serves and which rows are new, its first step finds.

    Args:
        customer_pool: see the new-rows step; None takes what the champion's run had.
        seed: None takes the pipeline's own.

    Raises:
        ImpossibleRequest: the request names no deployment.
    """
    if request.deployment is None:
        raise ImpossibleRequest(
            f"retraining request {request.key} names no deployment",
            next_step="Give the alert a label 'deployment'; the new rows are those of its traffic.",
        )
    more = {"customer_pool": customer_pool, "seed": seed}
    return {
        "deployment": request.deployment,
        "model_name": request.model,
        "trigger": request.key,
        "run_name": run_name(request),
        **{name: value for name, value in more.items() if value is not None},
    }
