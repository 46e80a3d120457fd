"""The harm test on users who met a failure: exact by the randomisation of users, however many requests each sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from serving.rollout.blocks import Block
from serving.rollout.statistics.boundary import (
    Floats,
    Key,
    Remembered,
    binomial,
    first_crossing,
    spend_open_ended,
)
from serving.rollout.statistics.concurrent import HALF_SPENT

Odds = tuple[int, int]
"""(weight that a step adds, weight that was not on the candidate before), in percent."""


@dataclass(frozen=True, slots=True)
class FailedUsers:
    """Users who met a failure, each once a step.

    Attributes:
        crossed: expected candidate requests when the test crossed; None if it has not.
    """

    crossed: int | None
    candidate: int
    stable: int


def odds(steps: Sequence[tuple[str, int]]) -> dict[str, Odds]:
    """By step name: the odds with which a user whom the step may move is moved to the candidate.

    A user's place in the order is a hash salted with the rollout's id, so among the users whom no earlier step moved,
    a step from 10% to 50% moves each with probability 40/90, whatever was seen of them before.

    Args:
        steps: (name, weight in percent) in order; weights never fall.
    """
    found: dict[str, Odds] = {}
    before, current = 0, 0
    for name, weight in steps:
        if weight != current:
            before, current = current, weight
        found[name] = (current - before, 100 - before)
    return found


def failed_users(blocks: Sequence[Block], by_step: Mapping[str, Odds], alpha: float, *, key: str = "") -> FailedUsers:
    """Tests "a user who meets a failure is no likelier to be the candidate's", valid after any block.

    Under "equal versions" who fails, when and how often has nothing to do with the arm, so each user that meets a
    first failure in a step is the candidate's with the probability of the toss: a randomisation test in the sense of
    Fisher (1935, The Design of Experiments, section 21), unit by unit. Rates that change over the day, heavy users and
    users who always fail leave it exact.

    The budget is spent by the candidate requests to be expected, the step's odds times all requests: the requests that
    the candidate really got depend on which users it got, which the test must not look at.
    """
    keys: list[Key] = []
    marked: list[int] = []
    candidate = stable = 0
    expected = 0.0
    for block in blocks:
        moved, free = by_step.get(block.step, (0, 100))
        if not 0 < moved < free:
            continue
        expected += (block.stable.requests + block.candidate.requests) * moved / free
        failed = block.candidate.failed_users + block.stable.failed_users
        if failed:
            candidate += block.candidate.failed_users
            stable += block.stable.failed_users
            keys.append((failed, moved, free, int(expected)))
            marked.append(block.candidate.failed_users)
    index = first_crossing(marked, _boundary(key, alpha).thresholds(keys))
    return FailedUsers(keys[index][3] if index is not None else None, candidate, stable)


@lru_cache(maxsize=256)
def _boundary(key: str, alpha: float) -> Remembered:
    return Remembered(alpha, spend_open_ended(HALF_SPENT), _tosses)


def _tosses(key: Key) -> tuple[Floats, float]:
    failed, moved, free, expected = key
    return binomial(failed, moved / free), float(expected)
