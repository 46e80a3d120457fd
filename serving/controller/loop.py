"""The loop: hold the lease, reconcile every deployment, keep every engine."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.controller.conditions import degraded, is_ready, runtime_status
from serving.controller.engine_keeper import UNASKED
from serving.controller.parts import Parts
from serving.controller.reconcile import Reconciler, Slots, explain_trouble, is_contention
from tidegate.domain.release import engine_name
from tidegate.domain.resources import ModelDeployment, ModelRuntime
from tidegate.errors import Conflict, TidegateError
from tidegate.ids import new_id
from tidegate.logging import get_logger
from tidegate.ports import AdapterSlot
from tidegate.store.leases import Fence
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)
LEASE = "tidegate-controller"
_LATE_SECONDS = 120.0
_IN_USE = 2
"""Of a deployment's slots the first two: the version that serves, and the one that is judged."""


@dataclass(slots=True)
class Controller:
    """At most one of any number of controllers leads; the others wait for its lease."""

    parts: Parts
    holder: str = field(default_factory=lambda: f"controller-{new_id()}")
    reconciler: Reconciler = field(init=False)
    _fence: Fence | None = None
    _round_at: float = field(init=False)
    _said: str = ""
    _let_gone: set[str] = field(default_factory=set)
    _held: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.parts)
        self._round_at = self.parts.clock.monotonic()

    @property
    def leads(self) -> bool:
        return self._fence is not None

    @property
    def late(self) -> bool:
        """Whether no round was finished for so long that this process should be restarted."""
        return self.parts.clock.monotonic() - self._round_at > _LATE_SECONDS

    def run(self, stop: threading.Event) -> None:
        """Ticks until stopped, with the registry and the engines watched beside it; gives the lease back at the end."""
        intervals = self.parts.intervals
        threads = [
            threading.Thread(target=self._renew, args=(stop,), daemon=True),
            threading.Thread(target=self.parts.registry.run, args=(stop, intervals.registry_poll), daemon=True),
            threading.Thread(target=self.parts.engines.run, args=(stop, intervals.engine_poll), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.is_set():
                self.round()
                stop.wait(intervals.controller_tick)
        finally:
            self.release()

    def _renew(self, stop: threading.Event) -> None:
        """Keeps the lease while a round takes long; a round that never ends is seen by `late`."""
        ttl = self.parts.intervals.lease_ttl
        while not stop.wait(ttl / 4):
            fence = self._fence
            if fence is not None and not self.late:
                try:
                    self.parts.election.renew(LEASE, self.holder, fence.epoch, ttl)
                except TidegateError as error:
                    _log.warning("the lease cannot be renewed", problem=str(error))

    def round(self) -> None:
        """A tick whose trouble is worth a line: the next one starts from what is there then."""
        try:
            self.tick()
            self._said = ""
        except TidegateError as error:
            self._say_once(str(error))
        except Exception as error:
            _log.exception("round failed", problem=explain_trouble(error))
        self._round_at = self.parts.clock.monotonic()

    def _say_once(self, problem: str) -> None:
        """A part that is away for ten minutes is worth one line, not twelve hundred."""
        if problem != self._said:
            _log.warning("round not finished; it is begun again", problem=problem)
        self._said = problem

    def tick(self) -> None:
        """One round over everything, when this controller leads."""
        fence = self._lead()
        if fence is None:
            return
        self.parts.household.keep(fence)
        runtimes = [stored for stored in self.parts.resources.list("ModelRuntime") if self._prepare(stored, fence)]
        self.reconciler.unsettled.clear()
        slots: dict[tuple[str, str], list[tuple[AdapterSlot, ...]]] = {}
        unsure = self.parts.resources.unread()  # what such a deployment holds must stay
        used = set(unsure)
        for stored in self.parts.resources.list("ModelDeployment"):
            if not isinstance(stored.resource, ModelDeployment):
                continue
            runtime = stored.resource.spec.runtime_ref.name
            used.add(runtime)
            found = self._reconcile(stored, fence)
            if found is None:
                unsure.add(runtime)
            for engine, adapters in (found or {}).items():
                slots.setdefault((runtime, engine), []).append(adapters)
        for stored in runtimes:
            try:
                self._keep_engines(stored, slots, stored.name in used, stored.name in unsure, fence)
            except Exception as error:
                _log.info("runtime not kept; it is tried again", runtime=stored.name, problem=explain_trouble(error))

    def release(self) -> None:
        """Lets another controller lead at once."""
        if self._fence is not None:
            self.parts.election.release(LEASE, self.holder, self._fence.epoch)
            self._fence = None

    def _lead(self) -> Fence | None:
        ttl = self.parts.intervals.lease_ttl
        before, kept = self._fence, False
        try:
            kept = before is not None and self.parts.election.renew(LEASE, self.holder, before.epoch, ttl)
        finally:
            if not kept:  # and not before: a leader that asks is still the leader to who looks meanwhile
                self._fence = None
        if kept:
            return before
        epoch = self.parts.election.acquire(LEASE, self.holder, ttl)
        self.parts.engines.reassert()
        self.parts.registry.forget_wishes()
        self._let_gone.clear()
        self._held.clear()
        self.reconciler.unserved.clear()
        if epoch is None:
            if before is not None:
                _log.warning("the lease went to another controller", epoch=before.epoch)
            return None
        self.parts.household.taken_over(Fence(LEASE, epoch))  # where that fails nothing is led, and it is tried again
        _log.info("leading", holder=self.holder, epoch=epoch)
        self._fence = Fence(LEASE, epoch)
        return self._fence

    def _prepare(self, stored: StoredResource, fence: Fence) -> bool:
        """Takes a runtime into care; False when that changed it, and the next round goes on with it."""
        try:
            if self.parts.resources.adopt(stored, fence):
                return False
            if isinstance(stored.resource, ModelRuntime) and not stored.deleted:
                self.parts.fleet.declare(stored.resource, fence)
            return True
        except Exception as error:
            problem = explain_trouble(error)
            _log.info("runtime not taken into care; it is tried again", runtime=stored.name, problem=problem)
            return False

    def _reconcile(self, stored: StoredResource, fence: Fence) -> Slots | None:
        """One deployment; its trouble never stops the others."""
        try:
            return self.reconciler.reconcile(stored, fence)
        except Exception as error:
            if is_contention(error):
                _log.info("written meanwhile, starting over", deployment=stored.name, problem=explain_trouble(error))
            else:
                _log.exception("deployment cannot be reconciled", deployment=stored.name)
                self._say_degraded(stored, explain_trouble(error), fence)
            return None

    def _say_degraded(self, stored: StoredResource, problem: str, fence: Fence) -> None:
        """The trouble as a condition; what was decided so far stays."""
        try:
            current = self.parts.resources.get("ModelDeployment", stored.name)
            if current is None or current.deleted:
                return
            status = degraded(current.status, current.generation, problem, self.parts.clock.now())
            if status == current.status:
                return
            self.parts.records.record(current, status, (), {}, fence)
            self.parts.records.tell(current, status, {}, fence)
            self.parts.announcer.troubled(current, problem)
        except TidegateError as error:
            _log.warning("the trouble cannot be put on record", deployment=stored.name, problem=str(error))

    def _keep_engines(
        self,
        stored: StoredResource,
        slots: Mapping[tuple[str, str], list[tuple[AdapterSlot, ...]]],
        used: bool,
        unsure: bool,
        fence: Fence,
    ) -> None:
        """Wants the runtime's current engine and those that releases run on; lets go of the others."""
        runtime = stored.resource
        if not isinstance(runtime, ModelRuntime):
            return
        engines = self.parts.fleet.engines(stored.name)
        if stored.deleted:
            if not used:
                self._tear_down(stored.name, [engine_name(stored.name, engine) for engine in engines], fence)
            return
        current = self.parts.fleet.current(runtime)
        self.parts.engines.look(engine_name(stored.name, current))
        self._say_how(stored, engine_name(stored.name, current), self.parts.fleet.manifest(runtime, current), fence)
        if unsure:
            return  # never unload what may still be served
        for engine in engines:
            name = engine_name(stored.name, engine)
            manifest = self.parts.fleet.manifest(runtime, engine)
            wanted = slots.get((stored.name, engine))
            status = self.parts.engines.report(name).status
            if manifest is None or (engine != current and wanted is None):
                if stored.name not in self.reconciler.unsettled:
                    self._let_go(name)
            elif status is not None:
                self._let_gone.discard(name)
                limit = int(manifest["engine"]["maxAdapters"])
                # Without a replica none says what it holds, and what it held it shall hold again.
                loaded = status.adapters if status.replicas_ready else self._held.get(name, ())
                held = shared_slots(wanted or (), limit, loaded)
                self._held[name] = tuple(slot.id for slot in held)
                self.reconciler.observer.no_room[name] = left_out(wanted or (), held)
                self.parts.engines.want(name, manifest, held)

    def _tear_down(self, runtime: str, engines: Sequence[str], fence: Fence) -> None:
        """The runtime stays until its engines are gone: nobody else would ever remove them."""
        for engine in engines:
            self._let_go(engine)
        if all(self.parts.engines.gone(engine) for engine in engines):
            self.parts.fleet.forget(runtime, fence)
            self.parts.resources.purge("ModelRuntime", runtime, fence=fence)

    def _let_go(self, engine: str) -> None:
        """Once: removing what is gone would ask for it every second."""
        if engine not in self._let_gone:
            self._let_gone.add(engine)
            self._held.pop(engine, None)
            self.parts.engines.drop(engine)

    def _say_how(self, stored: StoredResource, engine: str, manifest: Mapping[str, Any] | None, fence: Fence) -> None:
        """The runtime's status, when it changed: how its current engine is."""
        report = self.parts.engines.report(engine)
        on_record = stored.status.get("observedGeneration") == stored.generation
        if report == UNASKED and on_record:
            return  # a leader that has just begun takes nothing back
        told = report.spec == manifest
        if report.spec is None:  # by this process; one before it may have told it, and what it then said is on record
            told = on_record and is_ready(stored.status)
        now = self.parts.clock.now()
        status = runtime_status(report.status, report.trouble, stored.generation, stored.status, now, told=told)
        if status == stored.status:
            return
        try:
            self.parts.records.record(stored, status, (), {}, fence)
        except Conflict as error:
            _log.info("written meanwhile", runtime=stored.name, problem=str(error))


def shared_slots(
    wanted: Sequence[tuple[AdapterSlot, ...]], limit: int, loaded: Collection[str] = ()
) -> list[AdapterSlot]:
    """What one engine holds for several deployments, each of which names its slots by importance.

    What is loaded and serves or is judged stays before anything new; then every deployment's first (the version that
    serves) goes before any second: a canary of one never costs another its users' version. An adapter that several
    name takes one slot.
    """
    ranked = [
        (rank, slot)
        for rank in range(max(map(len, wanted), default=0))
        for slots in wanted
        for slot in slots[rank : rank + 1]
    ]
    in_use = [slot for rank, slot in ranked if rank < _IN_USE and slot.id in loaded]
    chosen = {slot.id: slot for slot in (*in_use, *(slot for _, slot in ranked))}
    return list(chosen.values())[:limit]


def left_out(wanted: Sequence[tuple[AdapterSlot, ...]], held: Sequence[AdapterSlot]) -> frozenset[str]:
    """What serves or is judged, or is to be, and finds no slot."""
    return frozenset({slot.id for slots in wanted for slot in slots[:_IN_USE]} - {slot.id for slot in held})
