"""Actions: the difference between what a state wants and what the world is. Driving them twice changes nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.rollout.observation import Observation
from serving.rollout.state import RolloutState, RoutingWish, wish
from tidegate.domain.base import Contract
from tidegate.domain.release import version_of


class LoadAdapter(Contract):
    kind: Literal["LoadAdapter"] = "LoadAdapter"
    version: str


class UnloadAdapter(Contract):
    kind: Literal["UnloadAdapter"] = "UnloadAdapter"
    version: str


class PublishRouting(Contract):
    kind: Literal["PublishRouting"] = "PublishRouting"
    routing: RoutingWish


class SetAlias(Contract):
    """The alias is a projection for people to read; nothing depends on it."""

    kind: Literal["SetAlias"] = "SetAlias"
    alias: Literal["champion"] = "champion"
    version: str


Action = Annotated[LoadAdapter | UnloadAdapter | PublishRouting | SetAlias, Field(discriminator="kind")]


def actions(state: RolloutState, seen: Observation) -> list[Action]:
    """What to do, in order: load before routing to it, route away before unloading."""
    wanted = wish(state)
    keep = wanted.adapters[: seen.engine.max_adapters]
    found: list[Action] = [LoadAdapter(version=v) for v in keep if v not in seen.engine.adapters]
    if wanted.routing is not None and seen.routing_epoch < wanted.routing.epoch:
        if _loaded(wanted.routing, seen):
            found.append(PublishRouting(routing=wanted.routing))
    elif seen.engine.known and seen.acks and all(epoch >= state.epoch for epoch in seen.acks.values()):
        # Only with the wanted routing in force everywhere is an adapter surely unused; silent gateways say nothing.
        found += [UnloadAdapter(version=v) for v in seen.engine.adapters if v not in keep and v not in seen.routed]
    if wanted.champion is not None and seen.champion_known and seen.champion != version_of(wanted.champion):
        found.append(SetAlias(version=wanted.champion))
    return found


def _loaded(routing: RoutingWish, seen: Observation) -> bool:
    """No more users for a candidate that the engine is known not to hold, and no routing to a version that is new
    there; an engine that does not answer changes nothing.

    A stable version that is routed to already asks nothing of the engine: a rollback must not wait for a replica that
    the candidate has brought down.
    """
    needed = {routing.stable} - seen.routed.keys()
    if routing.candidate is not None and routing.candidate_weight > seen.routed.get(routing.candidate, -1.0):
        needed.add(routing.candidate)
    return not seen.engine.known or needed <= set(seen.engine.adapters)
