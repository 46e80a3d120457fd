"""One machine: the stores in the database of this home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.rollout.operator_actions import REFUSED
from serving.rollout.state import RolloutState
from tidegate.cli.context import actor, open_database
from tidegate.cli.substrates.port import Answer, Applied, Asked, Deployment
from tidegate.cli.substrates.requester import names_requester, with_requester
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.resources import AnyResource, ModelDeployment
from tidegate.errors import Conflict, NotFound
from tidegate.ledger import Ledger
from tidegate.store.actions import ActionStore
from tidegate.store.resources import ResourceStore, StoredResource

_KIND = "ModelDeployment"
_WITHDRAWN = "withdrawn: the controller did not answer in time"


class LocalRollouts:
    """The `Rollouts` port. Who asks is the user of this machine."""

    place = ""

    def __init__(self) -> None:
        self._db = _database()
        self._resources = ResourceStore(self._db, SystemClock())
        self._actions = ActionStore(self._db, SystemClock())

    def all(self) -> list[Deployment]:
        return [_deployment(stored) for stored in self._resources.list(_KIND)]

    def get(self, name: str) -> Deployment | None:
        stored = self._resources.get(_KIND, name)
        return _deployment(stored) if stored is not None else None

    def state(self, deployment: Deployment) -> RolloutState | None:
        stored = deployment.status.get("state")
        return RolloutState.model_validate(stored) if stored is not None else None

    def history(self, deployment: Deployment) -> list[dict[str, Any]]:
        """All that the ledger has."""
        facts = Ledger(self._db, SystemClock()).entries(kind="rollout.transition", subject=deployment.name)
        return [{**fact.payload, "time": fact.time.isoformat(timespec="seconds")} for fact in facts]

    def submit(self, deployment: str, action: str, reason: str, rollout: str | None) -> Asked:
        made = self._actions.submit(deployment, action, actor(), reason, rollout)
        return Asked(made.id, made.id, deployment, made.by)

    def answer(self, asked: Asked) -> Answer | None:
        found = self._actions.get(asked.id)
        return None if found is None or found.answer is None else Answer(found.answer, REFUSED not in found.answer)

    def withdraw(self, asked: Asked) -> Answer | None:
        self._actions.done(asked.id, _WITHDRAWN)  # an answer that is there already stays
        found = self.answer(asked)
        return found if found is not None and found.text != _WITHDRAWN else None

    def controller_hint(self) -> str:
        return "Run 'tidegate status' to see whether the controller runs, and 'tidegate up' to start it."


class LocalResources:
    """The `Resources` port."""

    def __init__(self) -> None:
        self._opened: ResourceStore | None = None

    def apply(self, resources: Sequence[AnyResource], *, dry_run: bool) -> list[Applied]:
        """A dry run needs no database: the manifests were read, and that is all there is to check."""
        if dry_run:
            return [Applied(item.kind, item.metadata.name, "valid (dry run)") for item in resources]
        made = []
        for resource in resources:
            stored, changed = self._store.apply(self._named(resource), actor="cli")
            result = "unchanged" if not changed else "created" if stored.generation == 1 else "configured"
            made.append(Applied(resource.kind, resource.metadata.name, result))
        return made

    def delete(self, kind: str, name: str) -> None:
        if kind == "ModelRuntime":
            using = [
                stored.name
                for stored in self._store.list(_KIND, deleted=False)
                if isinstance(stored.resource, ModelDeployment) and stored.resource.spec.runtime_ref.name == name
            ]
            if using:
                raise Conflict(
                    f"ModelRuntime {name!r} serves {', '.join(using)}", next_step="Delete those deployments first."
                )
        self._store.delete(kind, name, actor="cli")

    @property
    def _store(self) -> ResourceStore:
        if self._opened is None:
            self._opened = ResourceStore(_database(), SystemClock())
        return self._opened

    def _named(self, resource: AnyResource) -> AnyResource:
        if not isinstance(resource, ModelDeployment):
            return resource
        stored = self._store.get(_KIND, resource.metadata.name)
        before = stored.resource if stored is not None and not stored.deleted else None
        known = before.metadata.annotations if before is not None else {}
        if not names_requester(resource, known):
            return resource
        changed = before is None or before.spec != resource.spec
        return with_requester(resource, known, actor(), changed=changed)


def _database() -> Database:
    try:
        return open_database()
    except NotFound as error:
        step = f"{error.next_step} For a cluster name its namespace with -n, or set TIDEGATE_PROFILE=cluster."
        raise NotFound(error.problem, next_step=step) from None


def _deployment(stored: StoredResource) -> Deployment:
    return Deployment(stored.name, stored.status, stored.deleted)
