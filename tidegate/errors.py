"""The error tree. Every error a user can meet names the thing, its value and the next step."""

from __future__ import annotations

import errno


class TidegateError(Exception):
    """Base of all errors of tidegate.

    Args:
        problem: what is wrong, naming the thing and its value, without a trailing period.
        next_step: what the reader can do now, as an imperative sentence.

    `exit_code` is the exit status of the CLI for this class of error; docs/cli.md lists them.
    """

    exit_code = 1

    def __init__(self, problem: str, *, next_step: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem}. {self.next_step}".rstrip() if self.next_step else self.problem

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive pickling by default, and Ray pickles what a task raises.
        return (_rebuild, (type(self), self.problem, self.next_step))


def _rebuild(cls: type[TidegateError], problem: str, next_step: str) -> TidegateError:
    error = cls.__new__(cls)
    TidegateError.__init__(error, problem, next_step=next_step)
    return error


class InvalidInput(TidegateError):
    """What the user gave cannot be used: a manifest, a data file, an option."""

    exit_code = 2


class NotFound(TidegateError):
    """A named thing does not exist: a version, an alias, a rollout, a file."""

    exit_code = 3


class Conflict(TidegateError):
    """The thing changed meanwhile, exists already, or a newer epoch or resourceVersion is in force."""

    exit_code = 4


class Unavailable(TidegateError):
    """A part of the platform does not answer; trying again later can succeed."""

    exit_code = 5


class Denied(Unavailable):
    """Whoever asks may not. It is a kind of `Unavailable`: with the permission, trying again succeeds."""

    exit_code = 9


class GateFailed(TidegateError):
    """A quality gate said no. Nothing was registered."""

    exit_code = 6


class ContractBroken(TidegateError):
    """A contract between planes does not hold: schema, row accounting, digest, attestation, hash chain."""

    exit_code = 7


class ResourceExhausted(TidegateError):
    """The machine or a quota has no room left: disk, memory, ports, adapter slots."""

    exit_code = 8


def is_no_room(error: BaseException) -> bool:
    """Whether a disk, or a quota on it, is full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
