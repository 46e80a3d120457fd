"""Counts of user-visible requests per arm in blocks of five seconds: the evidence of the unpaired metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from serving.gateway.histogram import Histogram
from tidegate.clock import Clock
from tidegate.domain.evidence import ArmWindow
from tidegate.domain.routing import Arm, Role, RoutingTable

BLOCK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class _Key:
    deployment: str
    rollout: str | None
    step: str | None
    role: Role
    version: str
    epoch: int
    block_start: datetime


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    errors: int = 0
    changed: bool = True
    latency: Histogram = field(default_factory=Histogram)
    ttft: Histogram = field(default_factory=Histogram)


class ArmCounter:
    """Counts in memory; `changed` hands them over to be stored.

    A block's counts are those so far: the store replaces what it had of the same block of this gateway, so a repeated
    write does no harm. Used from the event loop only, so it needs no lock.
    """

    def __init__(self, gateway: str, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._counts: dict[_Key, _Counts] = {}

    def answered(self, table: RoutingTable, arm: Arm, *, latency: float, ttft: float | None) -> None:
        """A good answer at the arm's first attempt, with its times in seconds."""
        counts = self._of(table, arm)
        counts.requests += 1
        counts.latency.observe(latency)
        if ttft is not None:
            counts.ttft.observe(ttft)

    def failed(self, table: RoutingTable, arm: Arm) -> None:
        """The arm's first attempt failed, whether or not another attempt then answered the user."""
        counts = self._of(table, arm)
        counts.requests += 1
        counts.errors += 1

    def changed(self) -> list[ArmWindow]:
        """The blocks that changed since the last call. Blocks that are over are forgotten then."""
        now = block_start(self._clock.now())
        changed = {key: counts for key, counts in self._counts.items() if counts.changed}
        self._counts = {key: counts for key, counts in self._counts.items() if key.block_start >= now}
        for counts in changed.values():
            counts.changed = False
        return [
            ArmWindow(
                deployment=key.deployment,
                rollout=key.rollout,
                step=key.step,
                role=key.role,
                version=key.version,
                epoch=key.epoch,
                gateway=self._gateway,
                block_start=key.block_start,
                requests=counts.requests,
                errors=counts.errors,
                latency_counts=tuple(counts.latency.counts),
                ttft_counts=tuple(counts.ttft.counts),
            )
            for key, counts in changed.items()
        ]

    def _of(self, table: RoutingTable, arm: Arm) -> _Counts:
        key = _Key(
            deployment=table.deployment,
            rollout=table.rollout,
            step=table.step,
            role=arm.role,
            version=arm.version,
            epoch=table.epoch,
            block_start=block_start(self._clock.now()),
        )
        counts = self._counts.setdefault(key, _Counts())
        counts.changed = True
        return counts


def block_start(moment: datetime) -> datetime:
    """The start of the five-second block that a moment falls into."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + timedelta(seconds=int((moment - epoch).total_seconds()) // BLOCK_SECONDS * BLOCK_SECONDS)
