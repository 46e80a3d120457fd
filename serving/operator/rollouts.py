"""ModelRollouts: one object per attempt, for people. Nothing is decided by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.operator.objects import MANAGED, Objects, owner
from serving.operator.statuses import rollout_spec, rollout_status
from serving.rollout.state import RolloutState
from tidegate.adapters.kube.kinds import OWN
from tidegate.domain.resources import ModelDeployment
from tidegate.errors import Conflict, InvalidInput, Unavailable
from tidegate.kube_codec import to_kube
from tidegate.logging import get_logger
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)
_KIND, _PARENT = OWN["ModelRollout"], OWN["ModelDeployment"]
DEPLOYMENT = "tidegate.dev/deployment"
KEPT = 10
"""Attempts kept per deployment; the ledger keeps all."""


class KubeRollouts:
    """Shows attempts. That it cannot is worth a line in the log, never a halt: the status says the same."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._behind: set[str] = set()

    def changed(self, deployment: str) -> None:
        """The newest attempt is not what is shown any more."""
        self._behind.add(deployment)

    def behind(self, deployment: str) -> bool:
        """Whether the newest attempt could not be shown as it is."""
        return deployment in self._behind

    def show(self, stored: StoredResource, state: RolloutState, status: Mapping[str, Any], fence: Fence) -> None:
        """The attempt as it is now; made when it is new."""
        self._behind.discard(stored.name)
        if state.attempt is None or not isinstance(stored.resource, ModelDeployment):
            return
        try:
            body = self._objects.get(_KIND, state.attempt.id) or self._begin(stored, state, fence)
            made = rollout_status(state, status, fence.epoch)
            if body is not None and body.get("status") != made:
                self._objects.replace(_KIND, {**body, "status": made}, fence, status=True)
        except (Conflict, Unavailable, InvalidInput) as error:
            self._behind.add(stored.name)
            _log.warning("attempt not shown", rollout=state.attempt.id, problem=str(error))

    def _begin(self, stored: StoredResource, state: RolloutState, fence: Fence) -> dict[str, Any] | None:
        parent = self._objects.get(_PARENT, stored.name)
        assert state.attempt is not None
        assert isinstance(stored.resource, ModelDeployment)
        spec = rollout_spec(state, stored.resource.spec.model.name)
        if parent is None or spec is None:
            return None
        metadata = {
            "name": state.attempt.id,
            "labels": {**MANAGED, DEPLOYMENT: stored.name},
            "ownerReferences": owner(parent),
        }
        made = self._objects.create(_KIND, {"metadata": metadata, "spec": to_kube(spec)}, fence)
        self._forget_old(stored.name, fence)
        return made

    def _forget_old(self, deployment: str, fence: Fence) -> None:
        mine = [body for body in self._objects.all(_KIND) if body["spec"]["deployment"] == deployment]
        mine.sort(key=lambda body: int(body["spec"]["epoch"]))
        for body in mine[:-KEPT]:
            self._objects.delete(_KIND, body["metadata"]["name"], fence)
