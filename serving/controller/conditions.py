"""Statuses that the judgement has no part in: a runtime's, and the trouble of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from serving.rollout.status import condition
from tidegate.ports import EngineStatus

_LONGEST_TROUBLE = 2000


def degraded(status: Mapping[str, Any], generation: int, problem: str, now: datetime) -> dict[str, Any]:
    """A deployment's status with its trouble as a condition; everything else stays as it is."""
    before = status.get("conditions", ())
    others = [item for item in before if item["type"] != "Degraded"]
    made = condition("Degraded", True, "Trouble", problem, generation, before, now)
    return {**status, "conditions": [*others, made]}


def runtime_status(
    engine: EngineStatus | None,
    trouble: str | None,
    generation: int,
    before: Mapping[str, Any],
    now: datetime,
    *,
    told: bool = True,
) -> dict[str, Any]:
    """A ModelRuntime's status.

    Args:
        engine: what the engine says of itself; None while it does not answer: the numbers then stay the last known.
        trouble: what went wrong at the last poll.
        told: whether the engine says so as one that knows this generation: it is not ready for what it was not told.
    """
    known = before.get("conditions", ())
    numbers = {name: before.get(name) for name in ("url", "replicasReady", "replicasWanted", "adapters")}
    if engine is not None:
        numbers = {
            "url": engine.url,
            "replicasReady": engine.replicas_ready,
            "replicasWanted": engine.replicas_wanted,
            "adapters": sorted(engine.adapters),
        }
    ready = engine is not None and engine.ready and told
    message = (
        trouble
        or (engine.message if engine is not None else "")
        or ("All replicas hold every adapter." if told else "The engine has not been told of this generation yet.")
    )
    return {
        "observedGeneration": generation,
        **numbers,
        "message": message,
        "conditions": [
            condition("Ready", ready, "EngineReady" if ready else "EngineNotReady", message, generation, known, now),
            condition(
                "Degraded", trouble is not None, "Trouble" if trouble else "AllAnswer", message, generation, known, now
            ),
        ],
    }


def bounded(problem: str) -> str:
    """As much of an error as may stand in a status: an object must fit into etcd, whatever a part answers."""
    return problem[:_LONGEST_TROUBLE]


def holding(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """A status' condition of this type, when it holds."""
    found = (item for item in status.get("conditions", ()) if item["type"] == kind and item["status"] == "True")
    return next(found, None)


def is_ready(status: Mapping[str, Any]) -> bool:
    """Whether the condition Ready holds."""
    return holding(status, "Ready") is not None


def trouble_of(status: Mapping[str, Any]) -> str | None:
    """What the condition Degraded says, when it holds."""
    found = holding(status, "Degraded")
    return str(found["message"]) if found is not None else None
