"""Gathers an Observation from the stores, the registry's answers and the engine's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from serving.controller.evidence_log import EvidenceLog
from serving.controller.parts import Parts
from serving.rollout.evidence import Evidence
from serving.rollout.freshness import emitting
from serving.rollout.observation import EngineView, Observation
from serving.rollout.operator_actions import REQUESTED_BY
from serving.rollout.preflight import NEEDS_LABEL_SET, NEEDS_LABELS, Candidate, Situation
from serving.rollout.state import ACTIVE, OperatorAction, RolloutState
from tidegate import attestation
from tidegate.domain.evidence import ArmWindow
from tidegate.domain.release import FIRST, engine_name, engine_of, release_of
from tidegate.domain.resources import ModelDeployment, ModelRuntime, RolloutPlan
from tidegate.domain.routing import RoutingTable
from tidegate.domain.version import ModelVersion
from tidegate.errors import ContractBroken, ResourceExhausted, Unavailable
from tidegate.ports import EngineStatus
from tidegate.store.arrivals import scorers_seen
from tidegate.store.leases import SCORER_LEASE

_RECENT = timedelta(minutes=10)
"""A metric that the stable version emitted within this time counts as measured."""
_LABELS_REACH = timedelta(days=2)
"""Labels often come once a day."""
_SCORER_SILENCE = timedelta(seconds=60)
"""A scorer that changes hands or starts again is not gone."""
_RATE_SECONDS = 30.0
"""The traffic of so many seconds forecasts the time that a rollout takes."""
_NEEDS_ANSWERS = frozenset({"no-refusal"})
"""Paired metrics that need only answers. Other scorers count as measured once they have scored a stable version."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What the database said; `trouble` when it said nothing."""

    evidence: Evidence = field(default_factory=Evidence)
    scoring: bool = False
    measured: frozenset[str] = frozenset()
    pairs_per_second: float | None = None
    trouble: str | None = None


@dataclass(slots=True)
class Observer:
    """Observes deployments; remembers the evidence that it has read.

    Attributes:
        no_room: engine -> ids of adapters that are wanted there and find no slot.
    """

    parts: Parts
    no_room: dict[str, frozenset[str]] = field(default_factory=dict)
    _logs: dict[str, EvidenceLog] = field(default_factory=dict)

    def observe(
        self,
        deployment: ModelDeployment,
        state: RolloutState,
        runtime: ModelRuntime | None,
        in_force: RoutingTable | None,
    ) -> Observation:
        """What there is to see for a deployment now."""
        name, model = deployment.metadata.name, deployment.spec.model
        now = self.parts.clock.now()
        nomination = self.parts.registry.nomination(model.name, model.source)
        releases = {v for v in (state.stable, state.candidate, state.previous) if v is not None}
        known = self.parts.registry.releases(model.name, releases)
        engine = self.parts.fleet.current(runtime) if runtime is not None else FIRST
        champion = self.parts.registry.champion(model.name)
        plan = deployment.spec.rollout
        stable = known.get(state.stable) if state.stable is not None else None
        read = self._read(name, state, plan, stable, now)
        situation, missing = None, read.trouble
        if runtime is None:
            missing = self._why_no_runtime(deployment.spec.runtime_ref.name)
        elif read.trouble is not None:
            pass  # what preflight has to know is not known
        elif state.stable is not None and stable is None:
            missing = f"version {state.stable} of {model.name} cannot be read from the registry"
            if self.parts.registry.absent(model.name, state.stable):
                missing = (
                    f"version {state.stable} of {model.name} serves, but the registry has it no more, so nothing can "
                    f"be compared with it; delete ModelDeployment {name} and apply it again: what is nominated then "
                    "serves all users at once"
                )
        else:
            situation = Situation(
                runtime=runtime.spec,
                base_digest=runtime.spec.base_model.digest,
                stable=stable,
                measured=read.measured,
                pairs_per_second=read.pairs_per_second,
            )
        routed = {arm.version for arm in in_force.arms} if in_force is not None else set()
        view = self._engines(deployment, runtime, engine, releases | routed)
        return Observation(
            plan=plan,
            nominated=self._candidate(nomination.version, engine) if nomination.version is not None else None,
            situation=situation,
            awaited=f"{model.name}@{model.source.alias}" if model.source.alias else "",
            trouble=nomination.trouble or missing,
            engine=view,
            routing_epoch=in_force.epoch if in_force is not None else 0,
            routed={arm.version: arm.weight for arm in in_force.arms} if in_force is not None else {},
            scoring=read.scoring,
            acks=self.parts.routing.acks(name, self.parts.intervals.ack_fresh),
            evidence=read.evidence,
            evidence_known=read.trouble is None,
            operator=tuple(
                OperatorAction(
                    id=action.id,
                    deployment=name,
                    action=action.action,
                    by=action.by,
                    reason=action.reason,
                    time=action.time,
                    rollout=action.rollout,
                )
                for action in self.parts.actions.pending(name)
            ),
            requested_by=_requested_by(deployment),
            champion=champion.version,
            champion_known=champion.known,
        )

    def _why_no_runtime(self, name: str) -> str:
        found = self.parts.resources.get("ModelRuntime", name)
        if found is not None and found.deleted:
            return (
                f"ModelRuntime {name} is being deleted, which cannot be taken back, and goes when nothing uses it; "
                "delete this ModelDeployment and apply it with another runtimeRef"
            )
        return f"ModelRuntime {name} does not exist; apply it"

    def _read(
        self, name: str, state: RolloutState, plan: RolloutPlan, stable: ModelVersion | None, now: datetime
    ) -> _Read:
        """What lies in the database. That it does not answer, or holds what a newer release wrote, is an observation,
        too: an abort must not wait for it."""

        def read() -> _Read:
            recent = self._recent_windows(name, state, now)
            return _Read(
                evidence=self._evidence(name, state),
                scoring=state.phase not in ACTIVE or self._scoring(now),
                measured=self._measured(name, plan, stable, recent, now) if state.phase == "Preflight" else frozenset(),
                pairs_per_second=pairs_per_second(recent, plan, now),
            )

        try:
            found: _Read = self.parts.by(read)
            return found
        except (Unavailable, ResourceExhausted) as error:
            return _Read(trouble=error.problem)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            return _Read(trouble=f"Evidence in the database is not understood ({error.title}, {where})")

    def _candidate(self, version: ModelVersion, engine: str) -> Candidate:
        try:
            attestation.verify(version.report, version.attestation, self.parts.keys)
        except ContractBroken as error:
            return Candidate(version, attestation_problem=error.problem, engine=engine)
        return Candidate(version, engine=engine)

    def _evidence(self, name: str, state: RolloutState) -> Evidence:
        attempt = state.attempt
        if attempt is None or state.phase not in ACTIVE:
            self._logs.pop(name, None)
            return Evidence()
        if name not in self._logs or self._logs[name].rollout != attempt.id:
            self._logs[name] = EvidenceLog(self.parts.db, self.parts.evidence, name, attempt.id, attempt.started_at)
        return self._logs[name].read(self.parts.clock.now())

    def _recent_windows(self, name: str, state: RolloutState, now: datetime) -> Sequence[ArmWindow]:
        if state.phase not in ACTIVE:
            return ()
        reach = _RECENT if state.phase == "Preflight" else timedelta(seconds=_RATE_SECONDS)
        return self.parts.evidence.windows(name, since=now - reach)

    def _scoring(self, now: datetime) -> bool:
        lease = self.parts.leases.get(SCORER_LEASE)
        return lease is not None and now - lease.expires_at <= _SCORER_SILENCE

    def _measured(
        self,
        name: str,
        plan: RolloutPlan,
        stable: ModelVersion | None,
        recent: Sequence[ArmWindow],
        now: datetime,
    ) -> frozenset[str]:
        found = set(scorers_seen(self.parts.db)) | _NEEDS_ANSWERS
        if self.parts.evidence.feedback(name, since=now - _LABELS_REACH, limit=1):
            found |= NEEDS_LABELS
        if stable is not None and stable.prompt.labels:
            found |= NEEDS_LABEL_SET
        for metric in plan.metrics:
            if metric.comparison == "Concurrent" and "stable" in emitting(metric.name, recent):
                found.add(metric.name)
        return frozenset(found)

    def _engines(
        self, deployment: ModelDeployment, runtime: ModelRuntime | None, engine: str, releases: set[str]
    ) -> EngineView:
        """The engines that matter now as one: the current one, and those that the releases run on."""
        if runtime is None:
            return EngineView()
        names = sorted({engine, *map(engine_of, releases)})
        views = {name: self._engine(deployment, runtime, name) for name in names}
        now = views[engine]
        return EngineView(
            known=now.known,  # of the engine that candidates go to: a broken one under the stable version must not
            ready=now.ready,  # keep its own replacement waiting
            adapters=tuple(adapter for view in views.values() for adapter in view.adapters),
            max_adapters=runtime.spec.engine.max_adapters,
            message="; ".join(view.message for view in views.values() if view.message),
        )

    def _engine(self, deployment: ModelDeployment, runtime: ModelRuntime, engine: str) -> EngineView:
        name = engine_name(runtime.metadata.name, engine)
        self.parts.engines.look(name)
        report = self.parts.engines.report(name)
        if report.status is None:
            return EngineView(message=report.trouble or "")
        prefix = f"{deployment.spec.model.name}/"
        held = (adapter.removeprefix(prefix) for adapter in report.status.adapters if adapter.startswith(prefix))
        return EngineView(
            known=True,
            ready=0 < report.status.replicas_wanted <= report.status.replicas_ready,
            adapters=tuple(release_of(version, engine) for version in held),
            message=report.trouble or self._full(runtime, name, prefix, report.status) or report.status.message,
        )

    def _full(self, runtime: ModelRuntime, engine: str, prefix: str, status: EngineStatus) -> str:
        missing = sorted(adapter for adapter in self.no_room.get(engine, ()) if adapter.startswith(prefix))
        if not missing:
            return ""
        return (
            f"engine {engine} has no slot for {', '.join(missing)}: {', '.join(status.adapters)} serve or are judged "
            f"there; raise spec.engine.maxAdapters ({runtime.spec.engine.max_adapters}) of ModelRuntime "
            f"{runtime.metadata.name}, or wait until another rollout has ended"
        )


def _requested_by(deployment: ModelDeployment) -> tuple[str, ...]:
    found = deployment.metadata.annotations.get(REQUESTED_BY)
    return (found,) if found else ()


def pairs_per_second(windows: Sequence[ArmWindow], plan: RolloutPlan, now: datetime) -> float | None:
    """Pairs that mirroring makes of the traffic of the last half minute; None without traffic."""
    since = now - timedelta(seconds=_RATE_SECONDS)
    requests = sum(window.requests for window in windows if window.block_start >= since)
    return requests / _RATE_SECONDS * plan.mirror.percent / 100 or None
