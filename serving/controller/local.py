"""The controller's ports on one machine: one database, so that a decision and its facts are one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.rollout.state import RolloutState, Transition
from tidegate.db import Database
from tidegate.domain.release import FIRST
from tidegate.domain.resources import ModelRuntime
from tidegate.domain.routing import RoutingTable
from tidegate.ledger import Draft, Ledger
from tidegate.logging import get_logger
from tidegate.store.actions import ActionStore
from tidegate.store.leases import Fence
from tidegate.store.resources import ResourceStore, StoredResource

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SqlRecords:
    """The `Records` port over the stores of one database."""

    db: Database
    resources: ResourceStore
    ledger: Ledger
    actions: ActionStore

    def record(
        self,
        stored: StoredResource,
        status: dict[str, Any],
        facts: Sequence[Draft],
        answers: Mapping[str, str],
        fence: Fence,
    ) -> None:
        """All of it in one transaction, or nothing."""
        with self.db.write() as conn:
            self.resources.update_status(
                stored.resource.kind, stored.name, status, stored.resource_version, fence=fence, conn=conn
            )
            self.ledger.append_many(facts, conn=conn)
            for action, answer in answers.items():
                self.actions.done(action, answer, conn=conn)

    def tell(self, stored: StoredResource, status: dict[str, Any], answers: Mapping[str, str], fence: Fence) -> None:
        """Nothing is left over, as below."""

    def settle(self, stored: StoredResource, state: RolloutState, in_force: RoutingTable | None, fence: Fence) -> None:
        """Nothing is ever left over: what was recorded was recorded whole."""

    def removed(self, deployment: str, fence: Fence) -> None:
        """On record already, with the removal itself."""


class OneEngine:
    """The `Fleet` port of one machine, which has no room for a second engine: a change replaces it in place."""

    def current(self, runtime: ModelRuntime) -> str:
        return FIRST

    def manifest(self, runtime: ModelRuntime, engine: str) -> dict[str, Any] | None:
        return runtime.spec.model_dump(mode="json", by_alias=True)

    def engines(self, runtime: str) -> list[str]:
        return [FIRST]

    def declare(self, runtime: ModelRuntime, fence: Fence) -> None:
        pass

    def forget(self, runtime: str, fence: Fence) -> None:
        pass


class NoHousehold:
    """The `Household` port of one machine: the database is all there is, and it was never anybody else's."""

    def taken_over(self, fence: Fence) -> None:
        pass

    def keep(self, fence: Fence) -> None:
        pass


class LogAnnouncer:
    """The `Announcer` port of one machine: the log."""

    def decided(self, stored: StoredResource, transitions: Sequence[Transition], status: Mapping[str, Any]) -> None:
        for item in transitions:
            _log.info(
                "transition",
                deployment=stored.name,
                rollout=item.rollout,
                phase=item.to_phase,
                step=item.step,
                weight=item.weight,
                reason=item.reason,
                message=item.message,
                by=item.by,
            )

    def noted(self, stored: StoredResource, reason: str, message: str) -> None:
        _log.info("waiting", deployment=stored.name, reason=reason, message=message)

    def troubled(self, stored: StoredResource, problem: str) -> None:
        _log.warning("trouble", resource=stored.name, problem=problem)

    def recovered(self, stored: StoredResource) -> None:
        _log.info("trouble is over", resource=stored.name)

    def published(self, stored: StoredResource, table: RoutingTable) -> None:
        weights = {arm.version: arm.weight for arm in table.arms}
        _log.info("routing published", deployment=stored.name, epoch=table.epoch, weights=weights)
