"""Leader election by a Lease, as client-go does it, with an epoch that fences what a leader writes.

Only this process's monotonic clock decides whether a lease has run out: it counts from when a change of the Lease was
*seen*, so clocks of different machines need not agree. `leaseTransitions` grows with every change of holder; with one
added it is the epoch.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.kube.api import KubeApi
from tidegate.adapters.kube.kinds import LEASE, Object
from tidegate.clock import Clock
from tidegate.errors import Conflict, Unavailable
from tidegate.kube_codec import time_text
from tidegate.logging import get_logger
from tidegate.store.leases import Fence

_log = get_logger(__name__)
_RENEW_BELOW = 2 / 3
"""A lease with less than this share of its time left is written anew."""


@dataclass(slots=True)
class _Seen:
    """A Lease as it was last seen to change."""

    version: str
    at: float


class LeaseElection:
    """The `Election` port on `coordination.k8s.io/v1` Leases. Thread-safe."""

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._held_until: dict[tuple[str, int], float] = {}
        self._floor: dict[str, int] = {}

    def acquire(self, name: str, holder: str, ttl_seconds: float) -> int | None:
        """Takes a lease that is free, given back or run out, or that is the holder's already.

        Returns:
            The epoch, or None while another holds the lease.

        Raises:
            Unavailable: the API server does not answer.
        """
        asked = self._clock.monotonic()
        try:
            found = self._api.get(LEASE, name)
            if found is None:
                made = self._api.create(LEASE, {"metadata": {"name": name}, "spec": self._spec(holder, ttl_seconds, 0)})
                return self._holds(name, made, asked, ttl_seconds)
            spec = found.get("spec") or {}
            if spec.get("holderIdentity") and spec["holderIdentity"] != holder and not self._ran_out(name, found):
                return None
            transitions = max(int(spec.get("leaseTransitions") or 0), self._floor.get(name, 0))
            if spec.get("holderIdentity") != holder or not self._still(name, transitions + 1):
                transitions += 1
            spec = self._spec(holder, ttl_seconds, transitions)
            made = self._api.replace(LEASE, {"metadata": found["metadata"], "spec": spec})
            return self._holds(name, made, asked, ttl_seconds)
        except Conflict:
            return None  # another was faster

    def renew(self, name: str, holder: str, epoch: int, ttl: float) -> bool:
        """Extends the lease; False when it is another's now, or has run out here.

        While the API server does not answer a lease counts for as long as it was written for.
        """
        with self._renewing:  # two threads of a holder must not take the lease from each other
            return self._renew(name, holder, epoch, ttl)

    def _renew(self, name: str, holder: str, epoch: int, ttl: float) -> bool:
        now = self._clock.monotonic()
        left = self._held_until.get((name, epoch), now) - now
        if left <= 0:
            return False
        if left > ttl * _RENEW_BELOW:
            return True
        try:
            found = self._api.get(LEASE, name)
            spec = (found or {}).get("spec") or {}
            if found is None or spec.get("holderIdentity") != holder or spec.get("leaseTransitions", 0) + 1 != epoch:
                return self._lost(name, epoch)
            spec = self._spec(holder, ttl, epoch - 1)
            self._holds(name, self._api.replace(LEASE, {"metadata": found["metadata"], "spec": spec}), now, ttl)
        except Conflict:
            return self._lost(name, epoch)
        except Unavailable as error:
            _log.warning("the lease cannot be renewed", lease=name, left_seconds=round(left, 1), problem=error.problem)
        return self._still(name, epoch)

    def release(self, name: str, holder: str, epoch: int) -> None:
        """Gives the lease back, so that another need not wait; nothing happens when it is no longer the holder's."""
        with self._lock:
            self._held_until.pop((name, epoch), None)
        try:
            found = self._api.get(LEASE, name)
            if found is None or found["spec"].get("holderIdentity") != holder:
                return
            spec = {**found["spec"], "holderIdentity": "", "renewTime": self._now()}
            self._api.replace(LEASE, {"metadata": found["metadata"], "spec": spec})
        except (Conflict, Unavailable) as error:
            _log.warning("the lease was not given back; it runs out", lease=name, problem=str(error))

    def lift(self, name: str, above: int) -> None:
        """Lets the next epoch exceed one that was seen on what the leader owns: a Lease that was deleted or not
        restored would begin at 1, and all of its holder's writes would be refused."""
        self._floor[name] = above
        with self._lock:
            self._held_until = {key: until for key, until in self._held_until.items() if key[0] != name}

    def held(self, name: str) -> Fence | None:
        """The fence of the lease that this process holds now."""
        with self._lock:
            epochs = [epoch for known, epoch in self._held_until if known == name]
        return next((Fence(name, epoch) for epoch in epochs if self._still(name, epoch)), None)

    def check(self, fence: Fence | None) -> None:
        """Refuses to write for a lease that has run out here: the first of the two fences (the server has the other).

        Raises:
            Conflict: it has, or it went to another.
        """
        if fence is not None and not self._still(fence.name, fence.epoch):
            raise Conflict(
                f"lease {fence.name!r} of epoch {fence.epoch} has run out",
                next_step="Stop writing and acquire the lease again.",
            )

    # --- what is known here ------------------------------------------------------------------------------------------

    def _holds(self, name: str, written: Object, since: float, ttl: float) -> int:
        epoch = int(written["spec"].get("leaseTransitions") or 0) + 1
        with self._lock:
            self._held_until = {key: until for key, until in self._held_until.items() if key[0] != name}
            self._held_until[name, epoch] = since + ttl
        return epoch

    def _still(self, name: str, epoch: int) -> bool:
        return self._clock.monotonic() < self._held_until.get((name, epoch), float("-inf"))

    def _lost(self, name: str, epoch: int) -> bool:
        with self._lock:
            self._held_until.pop((name, epoch), None)
        return False

    def _ran_out(self, name: str, found: Object) -> bool:
        """Whether nothing about the Lease has changed for as long as it was made for."""
        version, now = found["metadata"]["resourceVersion"], self._clock.monotonic()
        seen = self._seen.get(name)
        if seen is None or seen.version != version:
            self._seen[name] = _Seen(version, now)
            return False
        return now - seen.at > float(found["spec"].get("leaseDurationSeconds") or 0)

    def _spec(self, holder: str, ttl: float, transitions: int) -> dict[str, Any]:
        now = self._now()
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, math.ceil(ttl)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _now(self) -> str:
        return time_text(self._clock.now())
