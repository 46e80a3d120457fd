"""A platform without gateway and scorer: the test plays both, over the real stores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from serving.controller.loop import Controller
from serving.controller.parts import assemble_local
from serving.rollout.state import RolloutState
from tests.integration.controller.fakes import KEYS, FileEngines, FileRegistry, signed
from tidegate.clock import Clock, ManualClock, SystemClock
from tidegate.db import Database
from tidegate.domain.evidence import BUCKETS, ArmWindow, Feedback, PairEvent
from tidegate.domain.resources import AnyResource, ModelDeployment, ModelRuntime
from tidegate.domain.routing import Arm, RoutingTable
from tidegate.ids import new_id
from tidegate.ledger import Ledger
from tidegate.plane_settings import Intervals
from tidegate.ports import Engines, Registry
from tidegate.store.actions import ActionStore
from tidegate.store.leases import SCORER_LEASE
from tidegate.store.resources import ResourceStore
from tidegate.store.routing import RoutingStore

NAME = "intent-assistant"
_ROUND_SECONDS = 0.5
"""By which a clock that is set by hand goes on in a round, as a controller's does."""

RUNTIME = ModelRuntime.model_validate(
    {"metadata": {"name": "local"}, "spec": {"baseModel": {"uri": "builtin:smollm2-135m-instruct"}}}
)


def deployment(**rollout: Any) -> ModelDeployment:
    plan: dict[str, Any] = {
        "steps": [
            {"name": "shadow", "weight": 0, "minPairs": 20},
            {"name": "small", "weight": 10, "minPairs": 10},
            {"name": "half", "weight": 50, "minPairs": 10},
        ],
        "bakeSeconds": 0,
        "deadlineSeconds": 300,
        "maxPairs": 400,
        "mirror": {"percent": 100},
        "metrics": [
            {"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"},
            {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "0.5"},
        ],
    }
    return ModelDeployment.model_validate(
        {
            "metadata": {"name": NAME},
            "spec": {
                "runtimeRef": {"name": "local"},
                "model": {"name": "banking-intent", "source": {"type": "Alias", "alias": "challenger"}},
                "rollout": plan | rollout,
            },
        }
    )


def runtime(**spec: Any) -> ModelRuntime:
    """RUNTIME with other parts of its spec."""
    manifest = RUNTIME.model_dump(mode="json", by_alias=True, exclude_none=True)
    return ModelRuntime.model_validate({**manifest, "spec": manifest["spec"] | spec})


def counted(
    table: RoutingTable, arm: Arm, block: datetime, *, requests: int, errors: int = 0, gateway: str = ""
) -> ArmWindow:
    """What a gateway counts of an arm in a block; a gateway of its own when none is named."""
    fast = (requests - errors, *(0 for _ in range(BUCKETS - 1)))
    return ArmWindow(
        deployment=NAME,
        rollout=table.rollout,
        step=table.step,
        role=arm.role,
        version=arm.version,
        epoch=table.epoch,
        gateway=gateway or new_id(),
        block_start=block,
        requests=requests,
        errors=errors,
        latency_counts=fast,
        ttft_counts=fast,
    )


LEASE_SECONDS = 60.0
"""Long, where a lease is not what a test is about: on a busy machine one of a second runs out in the middle of a round,
and the round does nothing."""


class World:
    """The platform of one test. `tick` is one round of the controller and of everything around it."""

    def __init__(self, home: Path, clock: Clock | None = None, lease_ttl: float = LEASE_SECONDS) -> None:
        self.home = home
        self.clock = clock or SystemClock()
        self.lease_ttl = lease_ttl
        self.controller = self.another()
        self.parts = self.controller.parts
        self.registry = FileRegistry(home / "registry.json")
        self.pairs = 0
        self.no_traffic = False

    # --- what differs between one machine and a cluster ---------------------------------------------------------------

    def another(self) -> Controller:
        """A controller as another process would have it."""
        registry, engines = self.outside()
        parts = assemble_local(
            db=Database.open(f"sqlite:///{self.home / 'tidegate.db'}"),
            clock=self.clock,
            intervals=Intervals(lease_ttl=self.lease_ttl, ack_fresh=10.0),
            registry=registry,
            engines=engines,
            keys=KEYS,
        )
        return Controller(parts)

    def again(self) -> World:
        """The same platform, looked at by a new process."""
        return World(self.home, self.clock, self.lease_ttl)

    def look(self) -> None:
        """What watches report meanwhile; one machine reads its database each time."""

    def apply(self, resource: AnyResource) -> None:
        self.stores.apply(resource, "test")

    def delete(self, kind: str, name: str) -> None:
        self.stores.delete(kind, name, "test")

    def ask(self, action: str, by: str, reason: str = "") -> str:
        """A person's request; its id."""
        return self.actions.submit(NAME, action, by, reason).id

    def answer(self, asked: str) -> str | None:
        found = self.actions.get(asked)
        return found.answer if found is not None else None

    def lose_status(self) -> None:
        """As a restored backup does."""
        stored = self.parts.resources.get("ModelDeployment", NAME)
        assert stored is not None
        self.stores.update_status("ModelDeployment", NAME, {}, stored.resource_version)

    def acknowledge(self, epoch: int) -> None:
        RoutingStore(self.parts.db, self.clock).acknowledge("gateway-1", NAME, epoch)

    # --- what does not ------------------------------------------------------------------------------------------------

    def outside(self) -> tuple[Registry, Engines]:
        """The registry and the engines that a controller is given."""
        return FileRegistry(self.home / "registry.json"), FileEngines(self.home / "engines.json")

    def set_up(self, **rollout: Any) -> None:
        assert self.parts.leases.acquire(SCORER_LEASE, "test", 86_400.0) is not None
        self.registry.add(signed("1"))
        self.registry.set_alias("banking-intent", "challenger", "1")
        self.apply(RUNTIME)
        self.apply(deployment(**rollout))
        feedback = Feedback(
            id=new_id(),
            request_id="r",
            deployment=NAME,
            kind="label",
            value="top_up",
            source="test",
            time=self.clock.now(),
        )
        self.parts.evidence.add_feedback([feedback])

    def nominate(self, number: str, **changes: Any) -> None:
        self.registry.add(signed(number, **changes))
        self.registry.set_alias("banking-intent", "challenger", number)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.parts.db, self.clock)

    @property
    def actions(self) -> ActionStore:
        return ActionStore(self.parts.db, self.clock)

    @property
    def stores(self) -> ResourceStore:
        return ResourceStore(self.parts.db, self.clock)

    @property
    def status(self) -> dict[str, Any]:
        self.look()
        stored = self.parts.resources.get("ModelDeployment", NAME)
        assert stored is not None
        return stored.status

    @property
    def state(self) -> RolloutState:
        return RolloutState.model_validate(self.status["state"])

    @property
    def loaded(self) -> tuple[str, ...]:
        """What the engine was last seen to hold."""
        status = self.parts.engines.report("local").status
        return status.adapters if status is not None else ()

    def tick(self, outcomes: str = "", errors: int = 0, stable_errors: int = 0) -> None:
        """One round: the watchers poll, the controller ticks, the gateway acknowledges and traffic happens."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance(_ROUND_SECONDS)
        self.look()
        self.parts.registry.poll()
        self.parts.engines.poll()
        self.controller.round()
        self.around(outcomes, errors, stable_errors)

    def around(self, outcomes: str = "", errors: int = 0, stable_errors: int = 0) -> None:
        """What gateway and scorer do in a round; of ten requests of each arm so many fail."""
        table = self.parts.routing.get(NAME)
        if table is None:
            return
        self.acknowledge(table.epoch)
        if self.no_traffic:
            return
        now = self.clock.now()
        block = now - timedelta(seconds=10)
        failed = {"stable": stable_errors, "candidate": errors}
        self.parts.evidence.add_windows(
            [counted(table, arm, block, requests=10, errors=failed[arm.role]) for arm in table.arms if arm.weight > 0]
        )
        if table.rollout is None or table.step is None:
            return
        scores = {"+": (0.0, 1.0), "-": (1.0, 0.0), "=": (1.0, 1.0)}
        events = []
        for outcome in outcomes:
            self.pairs += 1
            stable, candidate = scores[outcome]
            events.append(
                PairEvent(
                    rollout=table.rollout,
                    pair=f"pair-{self.pairs}-{new_id()}",
                    scorer="exact-match",
                    stable_score=stable,
                    candidate_score=candidate,
                    user=new_id(),
                    step=table.step,
                    time=now,
                )
            )
        self.parts.evidence.add_scores(events, [])

    def until(self, *phases: str, outcomes: str = "", ticks: int = 60, stable_errors: int = 0) -> RolloutState:
        for _ in range(ticks):
            if self.status.get("phase") in phases:
                return self.state
            self.tick(outcomes, stable_errors=stable_errors)
        raise AssertionError(f"still in {self.status.get('phase')}: {self.status.get('message')}")

    def eventually(self, holds: Callable[[], bool], outcomes: str = "", ticks: int = 60) -> None:
        """Rounds until it holds: what gateways and engines say of themselves is looked at only now and then."""
        for _ in range(ticks):
            if holds():
                return
            self.tick(outcomes)
        raise AssertionError(f"not in {ticks} rounds; {self.status.get('phase')}: {self.status.get('message')}")
