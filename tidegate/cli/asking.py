"""Asking the controller for something, and waiting for its answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tidegate.cli.output import console
from tidegate.errors import Conflict, Denied, TidegateError, Unavailable

if TYPE_CHECKING:
    from tidegate.cli.substrates import Answer, Asked, Deployment, Rollouts

ANSWER_SECONDS = 15.0
_POLL_SECONDS = 0.25
_STAYS = "abort"
"""The only request that waits for a controller that is away: it is always wanted."""


def ask(rollouts: Rollouts, deployment: Deployment, action: str, reason: str, rollout: str) -> None:
    """Puts a request into the controller's queue and prints its answer.

    It means the attempt that is on now, and a later one refuses it, so that nobody approves what they did not see. An
    abort means whatever is on when it is carried out, unless `rollout` is given: a version that came up a moment before
    is better stopped, and tried again, than an abort refused. It then says what it hit.

    Without an answer an abort stays in the queue; any other request is withdrawn.

    Raises:
        Conflict: the controller refused it.
        Unavailable: the controller has not answered in time.
    """
    meant = rollout or (None if action == _STAYS else deployment.rollout)
    asked = rollouts.submit(deployment.name, action, reason, meant)
    try:
        answer = _wait(rollouts, asked)
        if answer is None and action != _STAYS:
            answer = _withdraw(rollouts, asked, action)
    except (KeyboardInterrupt, SystemExit):
        late = None if action == _STAYS else _withdraw(rollouts, asked, action)
        done = "it was withdrawn" if late is None else late.text
        _note(f"{action}: {'it stays in the queue' if action == _STAYS else done}")
        raise
    if answer is None:
        left = "it was withdrawn"
        if action == _STAYS:
            left = "it stays in the queue and is carried out when the controller is back"
        raise Unavailable(
            f"the controller has not answered {action} of {asked.deployment}{rollouts.place} for "
            f"{ANSWER_SECONDS:g} s; {left}",
            next_step=rollouts.controller_hint(),
        )
    if not answer.accepted:
        raise Conflict(answer.text, next_step=f"See 'tidegate rollout explain {asked.deployment}'.")
    console().print(answer.text, markup=False, soft_wrap=True)
    _say_where(rollouts, asked, deployment.rollout)


def _wait(rollouts: Rollouts, asked: Asked) -> Answer | None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer = rollouts.answer(asked)
        except Denied:
            raise
        except Unavailable:
            answer = None  # for a while: the request is in the queue, and what becomes of it has to be found out
        if answer is not None or time.monotonic() > deadline:
            return answer
        time.sleep(_POLL_SECONDS)


def _withdraw(rollouts: Rollouts, asked: Asked, action: str) -> Answer | None:
    try:
        return rollouts.withdraw(asked)
    except TidegateError as error:
        raise type(error)(
            f"the controller has not answered {action} of {asked.deployment}{rollouts.place}, and it could not be "
            f"withdrawn: {error.problem}; it is carried out when the controller is back",
            next_step=error.next_step,
        ) from None


def _say_where(rollouts: Rollouts, asked: Asked, seen: str | None) -> None:
    """Beside the answer: where it was, under which name, and what it hit when that is not what the person saw."""
    if rollouts.place:
        _note(f"asked by {asked.by}{rollouts.place}")
    hit = _hit(rollouts, asked)
    if hit is not None and seen is not None and hit != seen:
        text = f"It hit rollout {hit}, which began while you asked; before, {seen} was on."
        _note(f"{text} 'tidegate rollout resume' tries that version again.")


def _note(text: str) -> None:
    console(stderr=True).print(text, markup=False, soft_wrap=True)


def _hit(rollouts: Rollouts, asked: Asked) -> str | None:
    """The attempt that the request was carried out on."""
    try:
        found = rollouts.get(asked.deployment)
        state = rollouts.state(found) if found is not None else None
    except TidegateError:
        return None  # it was answered, and that is what counts
    return next((item.rollout for item in state.history if item.action == asked.id), None) if state else None
