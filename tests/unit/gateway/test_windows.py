"""Blocks of requests and users, as a gateway counts them."""

from __future__ import annotations

from serving.gateway.windows import ArmCounter
from tests.unit.store.examples import table
from tidegate.clock import ManualClock
from tidegate.domain.evidence import ArmWindow
from tidegate.domain.routing import Role, RoutingTable


class Gateway:
    """A counter, and the windows that it has handed over so far."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.counter = ArmCounter("g", self.clock)
        self.routing = at(10.0, epoch=1)

    def asks(self, user: str, place: float, *, ok: bool = True, routing: RoutingTable | None = None) -> None:
        routing = routing or self.routing
        weight = next(arm.weight for arm in routing.arms if arm.role == "candidate")
        arm = routing.arm("candidate" if place < weight else "stable")
        assert arm is not None
        if ok:
            self.counter.answered(routing, arm, user, place, latency=0.2, ttft=None)
        else:
            self.counter.failed(routing, arm, user, place)

    def window(self, role: Role) -> ArmWindow:
        return next(window for window in reversed(self.counter.changed()) if window.role == role)


def at(weight: float, *, epoch: int, rollout: str | None = "r1") -> RoutingTable:
    return table(epoch, weight, rollout=rollout, step=f"at-{weight:g}")


def users(window: ArmWindow) -> tuple[int, int, int, int]:
    assert window.users is not None
    return window.users.seen, window.users.errors, window.users.failed, sum(window.users.latency_counts)


def test_a_user_counts_once_and_so_does_the_first_failure() -> None:
    gateway = Gateway()
    for ok in (True, False, False, True):
        gateway.asks("ann", 5.0, ok=ok)
    gateway.asks("bob", 6.0, ok=False)
    window = gateway.window("candidate")
    assert (window.requests, window.errors) == (5, 3)
    assert users(window) == (2, 1, 2, 1)


def test_a_growing_weight_counts_anew_those_whom_it_may_move_and_nobody_else() -> None:
    gateway = Gateway()
    gateway.asks("ann", 5.0, ok=False)
    gateway.asks("cid", 30.0, ok=False)
    gateway.counter.changed()
    gateway.routing = at(50.0, epoch=2)
    gateway.asks("ann", 5.0, ok=False)
    gateway.asks("cid", 30.0, ok=False)
    window = gateway.window("candidate")
    assert window.errors == 2
    assert users(window) == (1, 1, 1, 0)


def test_a_late_answer_of_the_step_before_counts_no_user() -> None:
    gateway = Gateway()
    before = gateway.routing
    gateway.routing = at(50.0, epoch=2)
    gateway.asks("cid", 30.0)
    gateway.counter.changed()
    gateway.asks("dan", 5.0, ok=False, routing=before)
    assert users(gateway.window("candidate")) == (0, 0, 0, 0)


def test_failures_say_nothing_once_all_users_are_on_the_candidate() -> None:
    gateway = Gateway()
    gateway.asks("cid", 30.0)
    gateway.routing = at(100.0, epoch=2)
    gateway.asks("dan", 60.0, ok=False)
    assert users(gateway.window("candidate")) == (1, 1, 0, 0)


def test_outside_a_rollout_no_user_is_remembered() -> None:
    gateway = Gateway()
    gateway.routing = at(10.0, epoch=1, rollout=None)
    gateway.asks("ann", 5.0)
    assert gateway.window("candidate").users is None
