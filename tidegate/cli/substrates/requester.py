"""Who asked for a deployment's spec: the annotation on which an approval by a second person rests.

It is written when somebody relies on it: when the plan has a step that takes a second person, or when it is there
already. Others are not bound to it: once it is there, whoever changes the spec by other tools has to name themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.rollout.operator_actions import REQUESTED_BY
from tidegate.domain.resources import ModelDeployment

__all__ = ["REQUESTED_BY", "names_requester", "with_requester"]


def names_requester(resource: ModelDeployment, before: Mapping[str, str]) -> bool:
    """Whether an apply has to say who asks.

    Args:
        resource: the manifest. One that says it itself is left alone.
        before: annotations of what is applied now.
    """
    if REQUESTED_BY in resource.metadata.annotations:
        return False
    second = any(step.approval == "SecondPerson" for step in resource.spec.rollout.steps)
    return second or REQUESTED_BY in before


def with_requester(
    resource: ModelDeployment, before: Mapping[str, str], user: str, *, changed: bool
) -> ModelDeployment:
    """The manifest with the name of who asks: the user, or who asked before when the spec does not change."""
    named = user if changed else before.get(REQUESTED_BY, user)
    annotations = {**resource.metadata.annotations, REQUESTED_BY: named}
    metadata = resource.metadata.model_copy(update={"annotations": annotations})
    return resource.model_copy(update={"metadata": metadata})
