"""One deployment, once: observe, decide, record, act. What was recorded is acted on again until it is so."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.controller.observe import Observer
from serving.controller.parts import Parts
from serving.rollout.actions import PublishRouting, SetAlias, UnloadAdapter
from serving.rollout.decide import Decision, decide
from serving.rollout.observation import Observation
from serving.rollout.state import RolloutState, wish
from serving.rollout.status import read_state, status_document
from serving.rollout.table import routing_table
from tidegate.domain.resources import ModelDeployment, ModelRuntime
from tidegate.domain.routing import RoutingTable
from tidegate.errors import Conflict, TidegateError
from tidegate.ledger import Draft
from tidegate.logging import get_logger
from tidegate.ports import AdapterSlot
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)

_DECISIONS = frozenset(
    {
        "HarmFound",
        "GatesPassed",
        "PromotedByOperator",
        "InitialDeployment",
        "DeadlinePassed",
        "MaxPairsReached",
        "Aborted",
        "AbortedAfterPromotion",
        "Superseded",
    }
)
"""Reasons of transitions that settle a version's fate: the ledger keeps the whole judgement with them."""


@dataclass(slots=True)
class Reconciler:
    """Drives deployments. Holds nothing that a restart would miss: only what it has read."""

    parts: Parts
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self.observer = Observer(self.parts)

    def reconcile(self, stored: StoredResource, fence: Fence) -> tuple[AdapterSlot, ...] | None:
        """One round for a deployment.

        Returns:
            The adapters that its engine shall hold; None when that is not known now, so that the engine stays as it is.

        Raises:
            Conflict: somebody else wrote meanwhile; the next round starts from what they wrote.
        """
        deployment = stored.resource
        if not isinstance(deployment, ModelDeployment):
            raise TypeError(f"a {deployment.kind} is no ModelDeployment")
        name = stored.name
        if stored.deleted:
            self._tear_down(name, fence)
            return ()
        in_force = self.parts.routing.get(name)
        last_epoch = in_force.epoch if in_force is not None else self.parts.routing.last_epoch(name)
        state = read_state(name, stored.status, in_force, last_epoch)
        runtime = self._runtime(deployment)
        seen = self.observer.observe(deployment, state, runtime, in_force)
        decision = decide(state, seen, self.parts.clock.now())
        self._record(stored, decision, seen, fence)
        self._act(deployment, decision, seen, in_force, fence)
        return self._slots(deployment, decision, seen)

    def _runtime(self, deployment: ModelDeployment) -> ModelRuntime | None:
        found = self.parts.resources.get("ModelRuntime", deployment.spec.runtime_ref.name)
        if found is None or found.deleted or not isinstance(found.resource, ModelRuntime):
            return None
        return found.resource

    # --- record ------------------------------------------------------------------------------------------------------

    def _record(self, stored: StoredResource, decision: Decision, seen: Observation, fence: Fence) -> None:
        """Status, facts and answers in one transaction, refused when the resource or the lease changed."""
        trouble = seen.engine.message if not seen.engine.known and seen.engine.message else None
        status = status_document(decision.state, seen, stored.generation, trouble, stored.status)
        if status == stored.status and not decision.answers:
            return
        with self.parts.db.write() as conn:
            self.parts.resources.update_status(
                "ModelDeployment", stored.name, status, stored.resource_version, fence=fence, conn=conn
            )
            self.parts.ledger.append_many(_facts(stored.name, decision), conn=conn)
            for action, answer in decision.answers.items():
                self.parts.actions.done(action, answer, conn=conn)
        for transition in decision.transitions:
            _log.info(
                "transition",
                deployment=stored.name,
                rollout=transition.rollout,
                phase=transition.to_phase,
                step=transition.step,
                weight=transition.weight,
                reason=transition.reason,
                message=transition.message,
                by=transition.by,
            )

    # --- act ---------------------------------------------------------------------------------------------------------

    def _act(
        self,
        deployment: ModelDeployment,
        decision: Decision,
        seen: Observation,
        in_force: RoutingTable | None,
        fence: Fence,
    ) -> None:
        for action in decision.actions:
            if isinstance(action, PublishRouting):
                self._publish(deployment, action, decision.state, in_force, fence)
            elif isinstance(action, SetAlias):
                self.parts.registry.point(deployment.spec.model.name, action.alias, action.version)

    def _publish(
        self,
        deployment: ModelDeployment,
        action: PublishRouting,
        state: RolloutState,
        in_force: RoutingTable | None,
        fence: Fence,
    ) -> None:
        name, wanted = deployment.metadata.name, action.routing
        numbers = {wanted.stable} | ({wanted.candidate} if wanted.candidate is not None else set())
        versions = self.parts.registry.versions(deployment.spec.model.name, numbers)
        report = self.parts.engines.report(deployment.spec.runtime_ref.name)
        target = report.status.url if report.status is not None and report.status.url else None
        table = routing_table(wanted, name, versions, target, in_force, self.parts.clock.now())
        decided = self.parts.ledger.entries(kind="rollout.transition", subject=name, limit=1)
        self.parts.routing.publish(
            table,
            reason=decided[-1].payload["message"] if decided else state.message,
            decision=decided[-1].id if decided else None,
            fence=fence,
        )
        _log.info("routing published", deployment=name, epoch=table.epoch, weight=wanted.candidate_weight)

    def _slots(
        self, deployment: ModelDeployment, decision: Decision, seen: Observation
    ) -> tuple[AdapterSlot, ...] | None:
        """What the engine shall hold: what the state wants, and what is loaded and not surely unused."""
        if not seen.engine.known:
            return None
        unused = {action.version for action in decision.actions if isinstance(action, UnloadAdapter)}
        wanted = wish(decision.state).adapters[: seen.engine.max_adapters]
        kept = [version for version in seen.engine.adapters if version not in unused and version not in wanted]
        numbers = [*wanted, *kept][: seen.engine.max_adapters]
        known = self.parts.registry.versions(deployment.spec.model.name, set(numbers))
        if any(version not in known for version in wanted):
            return None
        return tuple(
            AdapterSlot(
                id=known[number].key,
                uri=known[number].adapter.uri,
                digest=known[number].adapter.digest,
                rank=known[number].adapter.rank,
            )
            for number in numbers
            if number in known
        )

    def _tear_down(self, name: str, fence: Fence) -> None:
        self.parts.routing.remove(name, fence=fence)
        self.parts.resources.purge("ModelDeployment", name)
        _log.info("deployment removed", deployment=name)


def explain_trouble(error: Exception) -> str:
    """An error as a condition's message."""
    return str(error) if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}"


def is_contention(error: Exception) -> bool:
    """Whether somebody else wrote first, which the next round settles."""
    return isinstance(error, Conflict)


def _facts(name: str, decision: Decision) -> list[Draft]:
    drafts = []
    attempt = decision.state.attempt
    for transition in decision.transitions:
        payload = transition.model_dump(mode="json")
        rollout = transition.rollout or None
        if transition.to_phase == "Preflight" and transition.from_phase != "Preflight" and attempt is not None:
            started = {"candidate": attempt.candidate, "plan": attempt.plan.model_dump(mode="json", by_alias=True)}
            drafts.append(Draft("rollout.started", name, started | payload, transition.by, rollout))
        if transition.reason in _DECISIONS:
            judged = attempt.judgement.model_dump(mode="json") if attempt is not None and attempt.judgement else None
            passed = attempt.passed if attempt is not None else None
            found = payload | {"judgement": judged, "passed": passed, "epoch": decision.state.epoch}
            drafts.append(Draft("rollout.decision", name, found, transition.by, rollout))
        drafts.append(Draft("rollout.transition", name, payload, transition.by, rollout))
    return drafts
