"""Which arm is asked, and asked again, until there is an answer or the request's time is over.

- The candidate is asked once. When it fails before the user has seen anything, the stable arm answers instead: a bad
  version costs its rollout an error and the user some milliseconds.
- The stable arm is asked again after failures that pass by themselves (a replica restarts), with growing, jittered
  pauses, within `RETRY_SECONDS` and the request's deadline.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving.gateway.engine_wire import EngineFailure
from tidegate.domain.routing import Arm, RoutingTable

T = TypeVar("T")
RETRY_SECONDS = 15.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_CANDIDATE_SHARE = 0.5  # of the remaining time: the rest is for the stable arm

Call = Callable[[Arm, float], Awaitable[T]]
"""Asks an arm with a limit in seconds."""


@dataclass(slots=True)
class Failed:
    """The first attempt at an arm failed so, after so many seconds."""

    arm: Arm
    failure: EngineFailure
    seconds: float


@dataclass(slots=True)
class Dispatched(Generic[T]):
    """What came of a request: `value` from `arm`, or None when no arm answered (then `failed` says why).

    `started` is when the answering arm was first asked (event loop time, s); `clean` says that it was asked only once.
    """

    arm: Arm
    started: float
    value: T | None = None
    last_failure: EngineFailure | None = None
    failed: list[Failed] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return all(item.arm.role != self.arm.role for item in self.failed)


async def dispatch(table: RoutingTable, arm: Arm, call: Call[T], deadline: float) -> Dispatched[T]:
    """Asks `arm`, falls back to the stable arm, retries there. `deadline` is event loop time (s)."""
    loop = asyncio.get_running_loop()
    failed: list[Failed] = []
    if arm.role == "candidate":
        started = loop.time()
        try:
            value = await call(arm, (deadline - started) * _CANDIDATE_SHARE)
        except EngineFailure as failure:
            failed.append(Failed(arm, failure, loop.time() - started))
        else:
            return Dispatched(arm, started, value)
        stable = table.arm("stable")
        if stable is None:  # a table always has one
            return Dispatched(arm, started, None, failed[0].failure, failed)
        arm = stable
    result = await _ask_stable(arm, call, deadline)
    result.failed = [*_blame(failed, result), *result.failed]
    return result


async def _ask_stable(arm: Arm, call: Call[T], deadline: float) -> Dispatched[T]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    result: Dispatched[T] = Dispatched(arm, started)
    until = min(deadline, started + RETRY_SECONDS)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            result.value = await call(arm, max(0.0, deadline - loop.time()))
        except EngineFailure as failure:
            result.last_failure = failure
            if not failure.client_fault and not result.failed:
                result.failed.append(Failed(arm, failure, loop.time() - started))
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            if not failure.temporary or loop.time() + wait >= until:
                return result
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return result


def _blame(failed: list[Failed], stable: Dispatched[T]) -> list[Failed]:
    """The candidate is not blamed for refusing what the stable arm refuses too: that is the client's fault."""
    refused_by_stable = stable.last_failure is not None and stable.last_failure.client_fault
    return [item for item in failed if not (refused_by_stable and item.failure.client_fault)]
