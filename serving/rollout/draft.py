"""A state in the making: every way in which a state may change, each with its reason."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any

from serving.rollout.state import HISTORY_KEPT, Attempt, Phase, RolloutState, Transition
from tidegate.domain.resources import RolloutPlan

ACTIONS_REMEMBERED = 50
REJECTED_REMEMBERED = 50
_NO_NAME = re.compile(r"[^a-z0-9]+")
_MARK = 6
_NAME_KEPT = 40
"""Characters of the deployment's name in a rollout's id, which has to stay a short name itself."""


class Draft:
    """Holds the state while one decision is made, and collects its transitions."""

    def __init__(self, state: RolloutState, now: datetime) -> None:
        self.state = state
        self.now = now
        self.transitions: list[Transition] = []
        self.answers: dict[str, str] = {}

    @property
    def attempt(self) -> Attempt:
        if self.state.attempt is None:
            raise ValueError(f"phase {self.state.phase} without an attempt")
        return self.state.attempt

    def change(self, **fields: Any) -> None:
        """Fields that no transition is worth."""
        self.state = self.state.model_copy(update=fields)

    def say(self, reason: str, message: str) -> None:
        """Why the state is as it is, without moving."""
        self.change(reason=reason, message=message)

    def move(self, to: Phase, reason: str, message: str, *, by: str = "controller", **fields: Any) -> None:
        """A transition: recorded with the state before anything is done about it."""
        before = self.state
        rollout = before.attempt.id if before.attempt else ""
        self.change(phase=to, reason=reason, message=message, changed_at=self.now, **fields)
        after = self.state
        step = after.attempt.current.name if after.attempt and after.attempt.current else None
        transition = Transition(
            time=self.now,
            rollout=after.attempt.id if after.attempt else rollout,
            from_phase=before.phase,
            to_phase=to,
            step=step,
            weight=after.weight,
            reason=reason,
            message=message,
            by=by,
            epoch=after.epoch,
        )
        self.transitions.append(transition)
        self.change(history=(*after.history, transition)[-HISTORY_KEPT:])

    def reroute(self, to: Phase, reason: str, message: str, *, by: str = "controller", **fields: Any) -> None:
        """A transition that changes routing: its epoch is the next one."""
        self.move(to, reason, message, by=by, epoch=self.state.epoch + 1, **fields)

    def start(
        self,
        version: str,
        plan: RolloutPlan,
        reason: str,
        message: str,
        *,
        by: str = "controller",
        requested_by: tuple[str, ...] = (),
    ) -> None:
        """A new attempt. Its id carries the epoch, which never comes again, so no two attempts share evidence."""
        epoch = self.state.epoch + 1
        attempt = Attempt(
            id=self._attempt_id(version, epoch),
            candidate=version,
            plan=plan,
            started_at=self.now,
            deadline_from=self.now,
            requested_by=requested_by,
        )
        rejected = {known: why for known, why in self.state.rejected.items() if known != version}
        self.reroute("Preflight", reason, message, by=by, attempt=attempt, rejected=rejected, weight=0.0, mirror=False)

    def _attempt_id(self, version: str, epoch: int) -> str:
        """Also unlike that of a deployment whose name begins the same, or of one that had the name before."""
        name = self.state.deployment
        mark = hashlib.sha256(f"{name} {self.now.isoformat()}".encode()).hexdigest()[:_MARK]
        return f"{name[:_NAME_KEPT]}-v{_NO_NAME.sub('-', version.lower())}-{mark}-{epoch}"

    def roll_back(self, reason: str, message: str, *, reject: bool, by: str = "controller") -> None:
        """All users back on the stable version, and the candidate not tried again by itself when `reject`."""
        rejected = dict(self.state.rejected)
        if reject:
            rejected[self.attempt.candidate] = message
        rejected = dict(list(rejected.items())[-REJECTED_REMEMBERED:])
        self.reroute(
            "RollingBack", reason, message, by=by, weight=0.0, mirror=False, rejected=rejected, paused_from=None
        )

    def revert(self, reason: str, message: str, *, by: str) -> None:
        """After a promotion: back to the version before it."""
        rejected = dict(self.state.rejected)
        if self.state.stable is not None:
            rejected[self.state.stable] = message
        self.reroute(
            "RollingBack", reason, message, by=by, stable=self.state.previous, previous=None, rejected=rejected
        )

    def promote(self, reason: str, message: str, *, by: str = "controller") -> None:
        """All users on the candidate; the stable version stays loaded until the bake is over."""
        self.reroute("Baking", reason, message, by=by, weight=100.0, mirror=True, paused_from=None)

    def pause(self, reason: str, message: str, *, by: str = "controller") -> None:
        """Weights stay as they are until a person decides."""
        self.move("Paused", reason, message, by=by, paused_from=self.state.phase)

    def answered(self, action: str) -> None:
        """An operator action that is dealt with and must not be done twice; the last transition says how."""
        last = self.transitions[-1].model_copy(update={"action": action})
        self.transitions[-1] = last
        self.answers[action] = last.message
        self.change(
            done_actions=(*self.state.done_actions, action)[-ACTIONS_REMEMBERED:],
            history=(*self.state.history[:-1], last),
        )
