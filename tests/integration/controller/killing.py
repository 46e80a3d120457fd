"""SIGKILL at chosen boundaries around a record and an act, of a controller in a process of its own.

What a process did before it was killed is in a file beside its state: one line of JSON for every round it finished,
every routing that was in force, every transition on record, and the boundary at which it died.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.controller.facts import transition_id
from serving.controller.reconcile import Reconciler
from serving.operator.actions import KubeActions
from serving.operator.objects import Objects
from serving.operator.routing import KubeRouting
from tests.integration.controller.fakes import FileEngines, FileRegistry
from tests.integration.controller.world import NAME, World
from tidegate.ledger import Ledger
from tidegate.store.resources import ResourceStore
from tidegate.store.routing import RoutingStore

FARTHEST = 40
"""Boundaries that a controller may pass before it is killed. A new leader passes some ten before it decides anything:
with fewer, nothing would be decided before the kills are over."""
BOUNDARIES: tuple[tuple[type, str], ...] = (
    (Reconciler, "_record"),
    (ResourceStore, "update_status"),  # inside the transaction
    (RoutingStore, "publish"),
    (Ledger, "append_many"),  # on a cluster between the status and the act
    (Objects, "create"),
    (Objects, "replace"),
    (KubeRouting, "publish"),
    (KubeActions, "answer"),
    (FileEngines, "ensure"),
    (FileRegistry, "set_alias"),
)


@dataclass(frozen=True)
class Diary:
    """What killed processes have left in a file. A line that was written is there, also after a SIGKILL."""

    path: Path

    def write(self, what: str, **details: Any) -> None:
        line = json.dumps({"what": what, "at": time.monotonic()} | details) + "\n"
        with self.path.open("a") as file:  # the clock is the machine's: processes can be compared
            file.write(line)

    def lines(self, *what: str) -> Iterator[dict[str, Any]]:
        """The lines of these kinds, in order."""
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.splitlines():
            entry: dict[str, Any] = json.loads(line)
            if entry["what"] in what:
                yield entry


class Killer:
    """Kills this process when so many boundaries have been passed."""

    def __init__(self, after: int, diary: Diary) -> None:
        self._left = after
        self._diary = diary
        self._armed = True

    def count(self, boundary: str) -> None:
        if not self._armed:
            return
        self._left -= 1
        if self._left <= 0:
            self._diary.write("killed", boundary=boundary)
            os.kill(os.getpid(), signal.SIGKILL)

    def spare(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The same without a death: what gateways and scorers write is no boundary of the controller."""

        def spared(*args: Any, **kwargs: Any) -> Any:
            self._armed = False
            try:
                return method(*args, **kwargs)
            finally:
                self._armed = True

        return spared

    def around(self, owner: type, name: str) -> Callable[..., Any]:
        method, title = getattr(owner, name), f"{owner.__name__}.{name.lstrip('_')}"

        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.count(f"before {title}")
            result = method(*args, **kwargs)
            self.count(f"after {title}")
            return result

        return guarded


def controlled(world_of: Callable[[], World], home: Path, outcomes: str, killed_after: int | None, ticks: int) -> bool:
    """Runs a controller in a process of its own; True when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            _control(world_of(), Diary(home / "diary.jsonl"), outcomes, killed_after, ticks)
        except BaseException:  # it must not go on as the tests' process
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError(f"the controller's process ended with {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def _control(world: World, diary: Diary, outcomes: str, killed_after: int | None, ticks: int) -> None:
    if killed_after is not None:
        killer = Killer(killed_after, diary)
        for owner, name in BOUNDARIES:
            setattr(owner, name, killer.around(owner, name))
        World.around = killer.spare(World.around)  # type: ignore[method-assign]
    while not world.controller.leads:  # the lease of the one that was killed runs out
        world.controller.round()
        time.sleep(min(0.1, world.lease_ttl / 10))
    diary.write("round")
    for _ in range(ticks):
        world.tick(outcomes)
        table = world.parts.routing.get(NAME)
        if table is not None:
            diary.write("routed", epoch=table.epoch)
        status = world.status
        if "state" in status:
            diary.write("recorded", transitions=[transition_id(NAME, item) for item in world.state.history])
    world.controller.release()
