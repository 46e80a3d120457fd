"""Counts of concurrent requests by step and time block, and the strata in which the two arms are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.domain.evidence import ArmWindow, UserCounts

SETTLE_SECONDS = 8.0
"""How long after its start a block is left open: gateways count in blocks of five seconds and flush soon after."""


@dataclass(frozen=True, slots=True)
class Counts:
    """One arm's requests in one block, over all gateways.

    Attributes:
        users: the same of every user's first request in the step; None when a gateway did not tell users apart.
        failed_users: users who met their first failure in the step.
    """

    requests: int
    errors: int
    latency: tuple[int, ...]
    ttft: tuple[int, ...]
    users: Counts | None = None
    failed_users: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Both arms in one step and time block: only what is compared within it is comparable."""

    step: str
    start: datetime
    stable: Counts
    candidate: Counts


def blocks(windows: Sequence[ArmWindow], now: datetime | None = None) -> list[Block]:
    """Closed blocks in order of time: at `now` those that gateways no longer add to, for None all."""
    if not windows:
        return []
    newest = max(window.block_start for window in windows)
    open_from = newest if now is None else now - timedelta(seconds=SETTLE_SECONDS)
    grouped: dict[tuple[datetime, str], dict[str, list[ArmWindow]]] = {}
    for window in windows:
        if window.block_start <= open_from:
            arms = grouped.setdefault((window.block_start, window.step or ""), {"stable": [], "candidate": []})
            arms[window.role].append(window)
    return [
        Block(step=step, start=start, stable=add_up(arms["stable"]), candidate=add_up(arms["candidate"]))
        for (start, step), arms in sorted(grouped.items())
    ]


def add_up(windows: Sequence[ArmWindow]) -> Counts:
    """The sum of windows, which may come from several gateways."""
    if len(windows) == 1:  # most blocks: copying would cost more than everything else in a judgement
        only = windows[0]
        latency, ttft = only.latency_counts, only.ttft_counts
    else:
        latency = _columns([window.latency_counts for window in windows])
        ttft = _columns([window.ttft_counts for window in windows])
    users = [window.users for window in windows if window.users is not None]
    known = len(users) == len(windows)
    return Counts(
        requests=sum(window.requests for window in windows),
        errors=sum(min(window.errors, window.requests) for window in windows),
        latency=latency,
        ttft=ttft,
        users=_add_up_users(users) if known else None,
        failed_users=sum(one.failed for one in users) if known else 0,
    )


def _add_up_users(users: Sequence[UserCounts]) -> Counts:
    return Counts(
        requests=sum(one.seen for one in users),
        errors=sum(min(one.errors, one.seen) for one in users),
        latency=_columns([one.latency_counts for one in users]),
        ttft=_columns([one.ttft_counts for one in users]),
    )


def _columns(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    if len(rows) == 1:
        return rows[0]
    width = max((len(row) for row in rows), default=0)
    return tuple(sum(row[i] for row in rows if i < len(row)) for i in range(width))


# --- what is compared ------------------------------------------------------------------------------------------------

STRATUM_REQUESTS = 40
"""Requests of both arms that make a stratum worth a comparison of its own."""
STRATUM_SECONDS = 300.0
"""… or as long as blocks are added to one: traffic and the engine's load must not change much within a stratum."""


def strata(closed: Sequence[Block], *, users: bool) -> list[Block]:
    """Neighbouring blocks of a step put together until they hold something to compare.

    At half a request per second a block of five seconds holds a request of one arm or of the other, seldom of both, and
    what stands alone says nothing. How blocks are put together depends on how many requests there were, never on how
    they went. Blocks after the last full stratum are left for later.

    Args:
        users: count users instead of requests.
    """
    made: list[Block] = []
    waiting: list[Block] = []
    for block in closed:
        if waiting and block.step != waiting[0].step:
            made.append(_merge(waiting))
            waiting = []
        counted = of_users(block) if users else block
        if not waiting and not (counted.stable.requests or counted.candidate.requests):
            continue
        waiting.append(counted)
        seconds = (block.start - waiting[0].start).total_seconds()
        if sum(b.stable.requests + b.candidate.requests for b in waiting) >= STRATUM_REQUESTS or (
            seconds >= STRATUM_SECONDS
        ):
            made.append(_merge(waiting))
            waiting = []
    return made


def counts_users(closed: Sequence[Block]) -> bool:
    """Whether every block tells users apart."""
    return bool(closed) and all(b.stable.users is not None and b.candidate.users is not None for b in closed)


def of_users(block: Block) -> Block:
    """The block with users in place of requests."""
    stable, candidate = block.stable.users, block.candidate.users
    assert stable is not None  # counts_users
    assert candidate is not None
    return Block(step=block.step, start=block.start, stable=stable, candidate=candidate)


def _merge(parts: Sequence[Block]) -> Block:
    if len(parts) == 1:
        return parts[0]
    return Block(
        step=parts[0].step,
        start=parts[0].start,
        stable=_sum([part.stable for part in parts]),
        candidate=_sum([part.candidate for part in parts]),
    )


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(
        requests=sum(one.requests for one in counts),
        errors=sum(one.errors for one in counts),
        latency=_columns([one.latency for one in counts]),
        ttft=_columns([one.ttft for one in counts]),
    )
