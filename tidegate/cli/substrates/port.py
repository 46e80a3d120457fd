"""What the commands need of a substrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from serving.rollout.state import RolloutState
    from tidegate.domain.resources import AnyResource


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as it is now. `status` has what people read, under the same names on both substrates."""

    name: str
    status: Mapping[str, Any]
    deleted: bool = False

    @property
    def rollout(self) -> str | None:
        """The last attempt; it may have ended."""
        found = self.status.get("rollout")
        return str(found) if found is not None else None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in the queue. `id` is under which the history knows it, `name` under which the substrate finds it."""

    id: str
    name: str
    deployment: str
    by: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the controller said to a request."""

    text: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did with one manifest."""

    kind: str
    name: str
    result: str


class Rollouts(Protocol):
    """Deployments and their rollouts, and the queue of what people ask. Every method may raise `Unavailable`."""

    @property
    def place(self) -> str:
        """Where this is, as the end of a sentence: " in namespace 'team-a' (context prod)"; empty on one machine."""

    def all(self) -> list[Deployment]:
        """By name, also those that are being deleted."""

    def get(self, name: str) -> Deployment | None: ...

    def state(self, deployment: Deployment) -> RolloutState | None:
        """The controller's whole state; None while it has not looked yet.

        Raises:
            ContractBroken: another release wrote it, and this one cannot read it.
        """

    def history(self, deployment: Deployment) -> list[dict[str, Any]]:
        """Transitions, oldest first."""

    def submit(self, deployment: str, action: str, reason: str, rollout: str | None) -> Asked:
        """Puts a request into the queue, under the caller's name. A later attempt than `rollout` will refuse it."""

    def answer(self, asked: Asked) -> Answer | None: ...

    def withdraw(self, asked: Asked) -> Answer | None:
        """Takes a request back.

        Returns:
            The answer, when one was given before it could be withdrawn.
        """

    def controller_hint(self) -> str:
        """What to do when the controller does not answer, with what can be seen of it."""


class Resources(Protocol):
    """Desired state."""

    def apply(self, resources: Sequence[AnyResource], *, dry_run: bool) -> list[Applied]:
        """Creates or changes them in this order; nothing is changed when one of them is refused as it stands.

        Raises:
            InvalidInput: a manifest is refused.
            Conflict: it changes what must stay, or what another owns.
        """

    def delete(self, kind: str, name: str) -> None:
        """Marks it as unwanted; the controller tears it down.

        Raises:
            NotFound: there is no such resource.
            Conflict: it is in use.
        """
