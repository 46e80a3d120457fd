"""Routing tables for tests."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.domain.routing import Arm, Mirror, RoutingTable
from tidegate.prompt import GenerationDefaults, PromptTemplate

MODEL = "intent-assistant"
DIGEST = "sha256:" + "a" * 64


def table(
    engine: str,
    *,
    epoch: int,
    candidate_weight: float | None = None,
    mirror: float = 0.0,
    candidate_engine: str | None = None,
) -> RoutingTable:
    """A routing table with stable version 1 and, with a weight, candidate version 2 under rollout 'r1'."""

    def arm(role: str, version: str, weight: float) -> Arm:
        return Arm.model_validate(
            {
                "role": role,
                "version": version,
                "weight": weight,
                "target": candidate_engine or engine if role == "candidate" else engine,
                "adapter": f"banking-intent/{version}",
                "adapter_digest": DIGEST,
                "prompt": PromptTemplate(system="Bank intent."),
                "generation": GenerationDefaults(max_tokens=16, stop=("\n",)),
            }
        )

    arms = [arm("stable", "1", 100.0 - (candidate_weight or 0.0))]
    if candidate_weight is not None:
        arms.append(arm("candidate", "2", candidate_weight))
    return RoutingTable(
        deployment=MODEL,
        model=MODEL,
        epoch=epoch,
        salt="salt",
        rollout=None if candidate_weight is None else "r1",
        step=None if candidate_weight is None else "canary",
        arms=tuple(arms),
        mirror=Mirror(percent=mirror),
        updated_at=datetime.now(UTC),
    )
