"""Counts of user-visible requests per arm in blocks of five seconds: the evidence of the unpaired metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from serving.gateway.histogram import Histogram
from serving.gateway.users_once import UsersOnce
from tidegate.clock import Clock
from tidegate.domain.evidence import ArmWindow, UserCounts
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
    users: int = 0
    user_errors: int = 0
    users_failed: int = 0
    user_latency: Histogram = field(default_factory=Histogram)
    user_ttft: Histogram = field(default_factory=Histogram)


class ArmCounter:
    """Counts in memory; `changed` hands them over to be stored.

    A block's counts are those so far: the store replaces what it had of the same block of this gateway, so a repeated
    write does no harm. Used from the event loop only, so it needs no lock.
    """

    def __init__(self, gateway: str, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._counts: dict[_Key, _Counts] = {}
        self._users: dict[str, UsersOnce] = {}

    def answered(
        self, table: RoutingTable, arm: Arm, user: str, place: float, *, latency: float, ttft: float | None
    ) -> None:
        """A good answer at the first attempt of the user's arm, with its times in seconds.

        Args:
            user: pseudonym.
            place: percent of users before this one when the candidate's weight grows: `RoutingTable.place`.
        """
        counts = self._of(table, arm)
        users = self._users_of(table)
        counts.requests += 1
        counts.latency.observe(latency)
        if ttft is not None:
            counts.ttft.observe(ttft)
        counts.users += users.first(table, user, place)
        if users.first_answer(table, user, place):
            counts.user_latency.observe(latency)
            if ttft is not None:
                counts.user_ttft.observe(ttft)

    def failed(self, table: RoutingTable, arm: Arm, user: str, place: float) -> None:
        """The first attempt of the user's arm failed, whether or not another attempt then answered the user."""
        counts = self._of(table, arm)
        users = self._users_of(table)
        counts.requests += 1
        counts.errors += 1
        if users.first(table, user, place):
            counts.users += 1
            counts.user_errors += 1
        counts.users_failed += users.first_failure(table, user, place)

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
                users=UserCounts(
                    seen=counts.users,
                    errors=counts.user_errors,
                    failed=counts.users_failed,
                    latency_counts=tuple(counts.user_latency.counts),
                    ttft_counts=tuple(counts.user_ttft.counts),
                )
                if key.rollout is not None
                else None,
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

    def _users_of(self, table: RoutingTable) -> UsersOnce:
        return self._users.setdefault(table.deployment, UsersOnce())


def block_start(moment: datetime) -> datetime:
    """The start of the five-second block that a moment falls into."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + timedelta(seconds=int((moment - epoch).total_seconds()) // BLOCK_SECONDS * BLOCK_SECONDS)
