"""One deployment, once: observe, decide, record, act. What was recorded is acted on again until it is so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.controller.availability import answers, lasting
from serving.controller.conditions import bounded, trouble_of
from serving.controller.facts import facts, transition_id
from serving.controller.observe import Observer
from serving.controller.parts import Parts
from serving.rollout.actions import PublishRouting, SetAlias, UnloadAdapter
from serving.rollout.decide import Decision, decide
from serving.rollout.observation import Observation
from serving.rollout.state import RolloutState, wish
from serving.rollout.status import SERVES, Availability, read_state, status_document
from serving.rollout.table import routing_table
from tidegate.domain.release import engine_name, engine_of, version_of
from tidegate.domain.resources import ModelDeployment, ModelRuntime
from tidegate.domain.routing import RoutingTable
from tidegate.errors import Conflict, TidegateError
from tidegate.logging import get_logger
from tidegate.ports import AdapterSlot
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)
Slots = dict[str, tuple[AdapterSlot, ...]]
"""The adapters of one deployment by engine, the most important first."""


@dataclass(slots=True)
class Reconciler:
    """Drives deployments. Holds nothing that a restart would miss: only what it has read.

    Attributes:
        unsettled: runtimes, of this round, that some gateway may still route to by an older table.
        unserved: (deployment, engine) -> monotonic seconds since which no replica answers for what serves there.
    """

    parts: Parts
    observer: Observer = field(init=False)
    unsettled: set[str] = field(default_factory=set)
    unserved: dict[tuple[str, str], float] = field(default_factory=dict)
    _acts: dict[str, str] = field(default_factory=dict)
    _written_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.observer = Observer(self.parts)

    def reconcile(self, stored: StoredResource, fence: Fence) -> Slots | None:
        """One round for a deployment.

        Returns:
            The adapters that its engines shall hold; None when that is not known now, so that they stay as they are.

        Raises:
            Conflict: somebody else wrote meanwhile; the next round starts from what they wrote.
        """
        deployment = stored.resource
        if not isinstance(deployment, ModelDeployment):
            raise TypeError(f"a {deployment.kind} is no ModelDeployment")
        name = stored.name
        if self.parts.resources.adopt(stored, fence):
            return None  # it changed: the next round starts from what it is now
        if stored.deleted:
            self._tear_down(stored, fence)
            return {}
        in_force = self.parts.routing.get(name)
        last_epoch = in_force.epoch if in_force is not None else self.parts.routing.last_epoch(name)
        state = read_state(name, stored.status, in_force, last_epoch)
        self.parts.records.settle(stored, state, in_force, fence)
        runtime = self._runtime(deployment)
        seen = self.observer.observe(deployment, state, runtime, in_force)
        decision = decide(state, seen, self.parts.clock.now())
        wanted = wish(decision.state).routing
        if wanted is not None and (
            seen.routing_epoch < wanted.epoch or any(e < wanted.epoch for e in seen.acks.values())
        ):
            self.unsettled.add(deployment.spec.runtime_ref.name)
        status = self._record(stored, deployment, decision, seen, fence)
        try:
            self._act(stored, deployment, decision, in_force, fence)
            self._acts.pop(name, None)
        except Conflict:
            raise
        except TidegateError as error:
            self._acts[name] = str(error)  # the next status says so
        finally:  # a rollback is in force before anybody is told of it
            if status is not None:
                self._tell(stored, decision, status, fence)
        return self._slots(deployment, decision, seen)

    def _runtime(self, deployment: ModelDeployment) -> ModelRuntime | None:
        found = self.parts.resources.get("ModelRuntime", deployment.spec.runtime_ref.name)
        if found is None or found.deleted or not isinstance(found.resource, ModelRuntime):
            return None
        return found.resource

    # --- record ------------------------------------------------------------------------------------------------------

    def _record(
        self, stored: StoredResource, deployment: ModelDeployment, decision: Decision, seen: Observation, fence: Fence
    ) -> dict[str, Any] | None:
        """Status, facts and answers, before anything is done about them; the status when there was something new."""
        trouble = self._acts.get(stored.name) or (seen.engine.message if not seen.engine.known else "") or None
        available = self._availability(stored, deployment, decision.state)
        status = status_document(
            decision.state, seen, stored.generation, trouble, stored.status, self.parts.clock.now(), available
        )
        if status == stored.status and not decision.answers:
            return None
        clock = self.parts.clock.monotonic()
        lately = clock - self._written_at.get(stored.name, float("-inf")) < self.parts.status_seconds
        if lately and not decision.transitions and not decision.answers and _says_the_same(status, stored.status):
            return None  # only counts changed; everything is decided anew in the next round
        self._written_at[stored.name] = clock
        made = facts(stored.name, decision.state, decision.transitions)
        self.parts.records.record(stored, status, made, decision.answers, fence)
        return status

    def _availability(self, stored: StoredResource, deployment: ModelDeployment, state: RolloutState) -> Availability:
        """Whether replicas answer for the version that serves, by what its engine said last."""
        if state.stable is None:
            return SERVES
        engine = engine_name(deployment.spec.runtime_ref.name, engine_of(state.stable))
        self.parts.engines.look(engine)
        now, clock = answers(state.stable, engine, self.parts.engines.report(engine)), self.parts.clock.monotonic()
        if now.serves:
            self.unserved.pop((stored.name, engine), None)
        since = self.unserved.setdefault((stored.name, engine), clock) if not now.serves else clock
        return lasting(now, stored.status, clock - since)

    def _tell(self, stored: StoredResource, decision: Decision, status: dict[str, Any], fence: Fence) -> None:
        self.parts.records.tell(stored, status, decision.answers, fence)
        self.parts.announcer.decided(stored, decision.transitions, status)
        if not decision.transitions and status["reason"] != stored.status.get("reason"):
            self.parts.announcer.noted(stored, status["reason"], status["message"])
        now_troubled, was_troubled = trouble_of(status), trouble_of(stored.status)
        if now_troubled and now_troubled != was_troubled:
            self.parts.announcer.troubled(stored, now_troubled)
        elif was_troubled and not now_troubled:
            self.parts.announcer.recovered(stored)

    # --- act ---------------------------------------------------------------------------------------------------------

    def _act(
        self,
        stored: StoredResource,
        deployment: ModelDeployment,
        decision: Decision,
        in_force: RoutingTable | None,
        fence: Fence,
    ) -> None:
        for action in decision.actions:
            if isinstance(action, PublishRouting):
                self._publish(stored, deployment, action, decision.state, in_force, fence)
            elif isinstance(action, SetAlias) and not self._another_champion(deployment, action.version):
                self.parts.registry.point(deployment.spec.model.name, action.alias, version_of(action.version))

    def _another_champion(self, deployment: ModelDeployment, release: str) -> bool:
        """Whether the alias names what another deployment of the model serves: they would take it from each other."""
        model = deployment.spec.model.name
        champion = self.parts.registry.champion(model).version
        if champion is None or champion == version_of(release):
            return champion is not None
        return any(
            version_of(str(stored.status.get("stable"))) == champion
            for stored in self.parts.resources.list("ModelDeployment")
            if isinstance(stored.resource, ModelDeployment)
            and stored.name != deployment.metadata.name
            and stored.resource.spec.model.name == model
        )

    def _publish(
        self,
        stored: StoredResource,
        deployment: ModelDeployment,
        action: PublishRouting,
        state: RolloutState,
        in_force: RoutingTable | None,
        fence: Fence,
    ) -> None:
        name, wanted = deployment.metadata.name, action.routing
        releases = {wanted.stable} | ({wanted.candidate} if wanted.candidate is not None else set())
        versions = self.parts.registry.releases(deployment.spec.model.name, releases)
        targets = self._targets(deployment.spec.runtime_ref.name, releases)
        table = routing_table(wanted, name, versions, targets, in_force, self.parts.clock.now())
        last = state.history[-1] if state.history else None
        self.parts.routing.publish(
            table,
            reason=last.message if last is not None else state.message,
            decision=transition_id(name, last) if last is not None else None,
            fence=fence,
        )
        self.parts.announcer.published(stored, table)

    def _targets(self, runtime: str, releases: set[str]) -> dict[str, str]:
        """The base URL of each release's engine, where that answers."""
        reports = {
            release: self.parts.engines.report(engine_name(runtime, engine_of(release))).status for release in releases
        }
        return {release: status.url for release, status in reports.items() if status is not None and status.url}

    def _slots(self, deployment: ModelDeployment, decision: Decision, seen: Observation) -> Slots | None:
        """What the engines shall hold: what the state wants, and what is loaded and not surely unused."""
        wanted = wish(decision.state).adapters
        engines = sorted({engine_of(release) for release in (*wanted, *seen.engine.adapters, *seen.routed)})
        if engines and not seen.engine.known:
            return None
        slots: Slots = {}
        for engine in engines:
            found = self._slots_of(engine, deployment, decision, seen)
            if found is None:
                return None
            slots[engine] = found
        return slots

    def _slots_of(
        self, engine: str, deployment: ModelDeployment, decision: Decision, seen: Observation
    ) -> tuple[AdapterSlot, ...] | None:
        limit = seen.engine.max_adapters
        unused = {action.version for action in decision.actions if isinstance(action, UnloadAdapter)}
        wanted = [release for release in wish(decision.state).adapters if engine_of(release) == engine][:limit]
        held = [release for release in seen.engine.adapters if engine_of(release) == engine]
        releases = [*wanted, *(release for release in held if release not in unused and release not in wanted)][:limit]
        known = self.parts.registry.releases(deployment.spec.model.name, set(releases))
        if any(release not in known for release in wanted):
            return None
        return tuple(
            AdapterSlot(
                id=known[release].key,
                uri=known[release].adapter.uri,
                digest=known[release].adapter.digest,
                rank=known[release].adapter.rank,
            )
            for release in releases
            if release in known
        )

    def _tear_down(self, stored: StoredResource, fence: Fence) -> None:
        name = stored.name
        self.parts.routing.remove(name, fence=fence)
        self.parts.records.removed(name, fence)
        self.parts.resources.purge("ModelDeployment", name, fence=fence)
        _log.info("deployment removed", deployment=name)


def _says_the_same(status: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether two statuses differ at most in counts, estimates and sentences."""

    def said(of: Mapping[str, Any]) -> list[Any]:
        conditions = [(item["type"], item["status"], item["reason"]) for item in of.get("conditions", ())]
        return [of.get("reason"), of.get("phase"), of.get("observedGeneration"), trouble_of(of), conditions]

    return said(status) == said(before)


def explain_trouble(error: Exception) -> str:
    """An error as a condition's message."""
    return bounded(str(error) if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}")


def is_contention(error: Exception) -> bool:
    """Whether somebody else wrote first, which the next round settles."""
    return isinstance(error, Conflict)
