"""From a wish to a RoutingTable: the arms with all that a gateway needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from serving.rollout.state import RoutingWish
from tidegate.domain.routing import Arm, Mirror, Role, RoutingTable
from tidegate.domain.version import ModelVersion
from tidegate.errors import Unavailable


def routing_table(
    wish: RoutingWish,
    deployment: str,
    versions: Mapping[str, ModelVersion],
    targets: Mapping[str, str],
    in_force: RoutingTable | None,
    now: datetime,
) -> RoutingTable:
    """The table that a wish means.

    Args:
        versions: what the registry says of the releases' versions, by release.
        targets: base URL of the engine, by release; one whose engine does not answer is not in it.
        in_force: the table that is published; its arms are used for versions that cannot be read now, so that a
            rollback needs neither the registry nor the engine's answer.

    Raises:
        Unavailable: a version is neither in the registry's answer nor in the table in force.
    """
    known = {arm.version: arm for arm in in_force.arms} if in_force is not None else {}

    def arm(role: Role, version: str, weight: float) -> Arm:
        described = versions.get(version)
        target = targets.get(version)
        if described is not None and target is not None:
            return Arm(
                role=role,
                version=version,
                weight=weight,
                target=target,
                adapter=described.key,
                adapter_digest=described.adapter.digest,
                prompt=described.prompt,
                generation=described.generation,
            )
        if version in known:
            return known[version].model_copy(update={"role": role, "weight": weight})
        missing = "the registry" if described is None else "the engine"
        raise Unavailable(
            f"version {version} cannot be routed to: {missing} does not answer",
            next_step="Traffic stays where it is; it is tried again by itself.",
        )

    arms = [arm("stable", wish.stable, 100.0 - wish.candidate_weight)]
    if wish.candidate is not None:
        arms.append(arm("candidate", wish.candidate, wish.candidate_weight))
    return RoutingTable(
        deployment=deployment,
        model=deployment,
        epoch=wish.epoch,
        salt=wish.salt,
        rollout=wish.rollout,
        step=wish.step,
        arms=tuple(arms),
        mirror=Mirror(percent=wish.mirror_percent, max_concurrency=wish.mirror_concurrency),
        updated_at=now,
    )
