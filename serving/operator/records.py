"""Decisions on record: the status in the API server decides, and the ledger learns of it as soon as it answers.

The two are different systems, so a crash or an outage can lie between them. Nothing is lost: all that the ledger and
the people who asked have to learn follows from the state in the status, and each fact has an id under which it arrives
once. A rollback therefore never waits for a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from serving.controller.facts import answers as answers_of
from serving.controller.facts import facts as facts_of
from serving.controller.facts import routing_fact
from serving.operator.actions import KubeActions
from serving.operator.deadline import Deadline
from serving.operator.resources import KubeResources
from serving.operator.rollouts import KubeRollouts
from serving.operator.routing import KubeRouting
from serving.rollout.state import RolloutState
from tidegate.domain.resources import ModelDeployment
from tidegate.domain.routing import RoutingTable
from tidegate.errors import TidegateError
from tidegate.ledger import Draft, Ledger
from tidegate.logging import get_logger
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)


class KubeRecords:
    """The `Records` port."""

    def __init__(
        self,
        resources: KubeResources,
        rollouts: KubeRollouts,
        routing: KubeRouting,
        actions: KubeActions,
        ledger: Ledger,
        by: Deadline,
    ) -> None:
        self._resources = resources
        self._rollouts = rollouts
        self._routing = routing
        self._actions = actions
        self._ledger = ledger
        self._by = by
        self._waiting: dict[str, list[Draft]] = {}
        self._caught_up: dict[str, int] = {}
        self._routed: dict[str, int] = {}
        self._silent = False

    @property
    def waiting(self) -> int:
        """Facts that the ledger has not taken yet."""
        return sum(map(len, self._waiting.values()))

    def record(
        self,
        stored: StoredResource,
        status: dict[str, Any],
        facts: Sequence[Draft],
        answers: Mapping[str, str],
        fence: Fence,
    ) -> None:
        """Raises:
        Conflict: the object or the lease changed meanwhile; nothing was recorded.
        """
        try:
            self._resources.write_status(stored, status, fence)  # here it is decided
        except TidegateError:
            self._caught_up.pop(stored.name, None)  # it may have been written all the same: tell the history again
            raise
        self._offer(stored.name, facts)
        self._rollouts.changed(stored.name)

    def tell(self, stored: StoredResource, status: dict[str, Any], answers: Mapping[str, str], fence: Fence) -> None:
        """The ledger, the people who asked, and the ModelRollout. What does not arrive is told again by `settle`."""
        self._flush(stored.name)
        if answers:
            self._actions.answer(stored.name, answers, fence)
        if isinstance(stored.resource, ModelDeployment) and "state" in status:
            self._rollouts.show(stored, RolloutState.model_validate(status["state"]), status, fence)

    def settle(self, stored: StoredResource, state: RolloutState, in_force: RoutingTable | None, fence: Fence) -> None:
        """What an operator before this one may have left half done, once; what the ledger did not take, always."""
        name = stored.name
        if self._caught_up.get(name) != fence.epoch:
            self._offer(name, facts_of(name, state, state.history))
            self._actions.answer(name, answers_of(state.history), fence)
            self._rollouts.show(stored, state, stored.status, fence)
            self._caught_up[name] = fence.epoch
            self._routed.pop(name, None)
        elif self._rollouts.behind(name):
            self._rollouts.show(stored, state, stored.status, fence)
        if in_force is not None and self._routed.get(name) != in_force.epoch:
            reason, decision = self._routing.said(name)
            self._offer(name, [routing_fact(in_force, reason, decision)])
            self._routed[name] = in_force.epoch
        elif self._answers_missing(name, state):
            self._actions.answer(name, answers_of(state.history), fence)
        self._flush(name)

    def removed(self, deployment: str, fence: Fence) -> None:
        """The routing of a deleted deployment is out of force."""
        removal = self._routing.removal_id(deployment)
        self._offer(deployment, [Draft("routing.removed", deployment, {}, "controller", id=removal)])
        self._flush(deployment)

    def flush(self) -> None:
        """Offers again what waits, also of deployments that are gone."""
        for name in list(self._waiting):
            self._flush(name)

    def _offer(self, name: str, facts: Sequence[Draft]) -> None:
        waiting = self._waiting.setdefault(name, [])
        known = {fact.id for fact in waiting}
        waiting.extend(fact for fact in facts if fact.id not in known)

    def _answers_missing(self, name: str, state: RolloutState) -> bool:
        return any(action.id in state.done_actions for action in self._actions.pending(name))

    def _flush(self, name: str) -> None:
        waiting = self._waiting.get(name)
        if not waiting:
            return
        try:
            self._by(lambda: self._ledger.append_many(waiting))
        except TidegateError as error:
            if not self._silent:
                _log.warning("the ledger takes no facts; they wait", waiting=self.waiting, problem=error.problem)
            self._silent = True
            return
        except Exception:
            _log.exception("the ledger refuses facts; each is offered by itself", deployment=name)
            self._waiting[name] = self._one_by_one(waiting)
            if self._waiting[name]:
                return
        if self._silent:
            _log.info("the ledger answers again", deployment=name, facts=len(waiting))
        self._silent = False
        self._waiting.pop(name, None)

    def _one_by_one(self, facts: Sequence[Draft]) -> list[Draft]:
        """One fact that the database cannot hold must keep neither the others nor a rollback waiting.

        Returns:
            Those that go on waiting: the ledger went away in between.
        """
        for number, fact in enumerate(facts):
            try:
                self._by(partial(self._ledger.append_many, [fact]))
            except TidegateError as error:
                _log.warning("the ledger takes no facts; they wait", waiting=len(facts) - number, problem=error.problem)
                return list(facts[number:])
            except Exception:
                _log.exception("fact refused by the ledger and left out", fact=fact.kind, payload=fact.payload)
        return []
