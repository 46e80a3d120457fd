"""What a controller needs of the place it runs in. SQL stores do it on one machine, the API server on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serving.rollout.state import RolloutState, Transition
from tidegate.domain.resources import ModelRuntime
from tidegate.domain.routing import RoutingTable
from tidegate.ledger import Draft
from tidegate.store.actions import SubmittedAction
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource


class Resources(Protocol):
    """Desired state, and the status that belongs to it."""

    def list(self, kind: str) -> list[StoredResource]: ...

    def get(self, kind: str, name: str) -> StoredResource | None: ...

    def unread(self) -> set[str]:
        """Names of the runtimes of deployments that cannot be read."""

    def adopt(self, stored: StoredResource, fence: Fence) -> bool:
        """Makes sure that a resource cannot vanish before it is torn down; True when that changed it."""

    def purge(self, kind: str, name: str, *, fence: Fence | None = None) -> None:
        """Lets go of a resource that was deleted and is torn down."""


class Routing(Protocol):
    """Routing tables with monotone epochs, and who has taken them over."""

    def get(self, deployment: str) -> RoutingTable | None: ...

    def last_epoch(self, deployment: str) -> int: ...

    def publish(
        self,
        table: RoutingTable,
        *,
        reason: str | None = None,
        decision: str | None = None,
        fence: Fence | None = None,
    ) -> None:
        """Raises:
        Conflict: an equal or higher epoch is in force, or the lease went to another.
        """

    def remove(self, deployment: str, *, fence: Fence | None = None) -> None: ...

    def acks(self, deployment: str, fresh_seconds: float = 10.0) -> dict[str, int]: ...


class Fleet(Protocol):
    """The engines that a runtime has had. Another image or engine option is another engine, judged like a version."""

    def current(self, runtime: ModelRuntime) -> str:
        """The engine that the manifest declares now, as it is called within the runtime."""

    def manifest(self, runtime: ModelRuntime, engine: str) -> dict[str, Any] | None:
        """The spec that an engine was declared with; None for one that is forgotten."""

    def engines(self, runtime: str) -> list[str]:
        """All that are remembered, the current one among them."""

    def declare(self, runtime: ModelRuntime, fence: Fence) -> None:
        """Remembers the engine that the manifest declares."""

    def forget(self, runtime: str, fence: Fence) -> None:
        """The runtime is deleted, and its engines are gone."""


class Household(Protocol):
    """What a leader does beside judging rollouts."""

    def taken_over(self, fence: Fence) -> None:
        """This controller leads from now on."""

    def keep(self, fence: Fence) -> None:
        """Once a round."""


class Actions(Protocol):
    """What people ask of rollouts."""

    def pending(self, deployment: str) -> list[SubmittedAction]: ...


class Election(Protocol):
    """At most one leader. The epoch grows with every change of holder; it fences what the leader writes."""

    def acquire(self, name: str, holder: str, ttl_seconds: float) -> int | None: ...

    def renew(self, name: str, holder: str, epoch: int, ttl: float) -> bool: ...

    def release(self, name: str, holder: str, epoch: int) -> None: ...


class Records(Protocol):
    """Puts a decision on record before anything is done about it."""

    def record(
        self,
        stored: StoredResource,
        status: dict[str, Any],
        facts: Sequence[Draft],
        answers: Mapping[str, str],
        fence: Fence,
    ) -> None:
        """Status, facts and answers. With the status it is decided; the rest follows with `tell`, also over a crash.

        Raises:
            Conflict: the resource or the lease changed meanwhile; nothing was recorded.
        """

    def tell(self, stored: StoredResource, status: dict[str, Any], answers: Mapping[str, str], fence: Fence) -> None:
        """Whoever has to learn of what was recorded does, after it was acted on: users never wait for it."""

    def settle(self, stored: StoredResource, state: RolloutState, in_force: RoutingTable | None, fence: Fence) -> None:
        """Sees to it that what was recorded and published before has reached the ledger and the people."""

    def removed(self, deployment: str, fence: Fence) -> None:
        """A deleted deployment's routing is out of force."""


class Announcer(Protocol):
    """Tells what was decided to whoever watches: logs, events, metrics."""

    def decided(self, stored: StoredResource, transitions: Sequence[Transition], status: Mapping[str, Any]) -> None: ...

    def noted(self, stored: StoredResource, reason: str, message: str) -> None:
        """A rollout stands where it is for another reason than before."""

    def troubled(self, stored: StoredResource, problem: str) -> None: ...

    def recovered(self, stored: StoredResource) -> None: ...

    def published(self, stored: StoredResource, table: RoutingTable) -> None: ...
