"""RolloutActions: what people ask, with the API server's word for who they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from serving.operator.objects import Objects
from serving.rollout.operator_actions import REFUSED
from tidegate.adapters.kube.kinds import OWN, Object
from tidegate.clock import Clock
from tidegate.domain.rollout_resources import RolloutActionSpec, RolloutActionStatus
from tidegate.errors import TidegateError
from tidegate.kube_codec import from_kube, to_kube
from tidegate.logging import get_logger
from tidegate.store.actions import ActionName, SubmittedAction, printable
from tidegate.store.leases import Fence

_KIND = OWN["RolloutAction"]
_log = get_logger(__name__)
_NAMES: dict[str, ActionName] = {
    "Approve": "approve",
    "Promote": "promote",
    "Abort": "abort",
    "Pause": "pause",
    "Resume": "resume",
}
KEPT = 50
"""Answered actions kept per deployment; the ledger keeps all."""


class KubeActions:
    """The `Actions` port."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def pending(self, deployment: str) -> list[SubmittedAction]:
        """Actions without an answer, oldest first."""
        found = [_submitted(body) for body in self._of(deployment) if not _answered(body)]
        return sorted(found, key=lambda action: (action.time, action.id))

    def answer(self, deployment: str, answers: Mapping[str, str], fence: Fence) -> None:
        """Answers by the object's uid; an action that is answered or gone is left alone.

        One that cannot be written is offered again by `settle`: no answer keeps another, or a rollback, waiting.
        """
        for body in self._of(deployment):
            answer = answers.get(body["metadata"]["uid"])
            if answer is None or _answered(body):
                continue
            status = RolloutActionStatus(
                leader_epoch=fence.epoch,
                accepted=not _refused(body, answer),
                answer=answer,
                answered_at=self._clock.now(),
            )
            try:
                self._objects.replace(_KIND, {**body, "status": to_kube(status)}, fence, status=True)
            except TidegateError as error:  # the others have theirs; this one gets it in the next round
                name = body["metadata"]["name"]
                _log.warning("an answer did not arrive; it is given again", action=name, problem=str(error))

    def prune(self, fence: Fence) -> None:
        """Removes all but the newest answered actions of each deployment."""
        deployments = {body["spec"]["deployment"] for body in self._objects.all(_KIND)}
        for deployment in deployments:
            answered = [body for body in self._of(deployment) if _answered(body)]
            answered.sort(key=lambda body: str(body["status"].get("answeredAt")))
            for body in answered[:-KEPT]:
                self._objects.delete(_KIND, body["metadata"]["name"], fence)

    def unclaimed(self) -> list[Object]:
        """Actions whose deployment does not exist."""
        known = {body["metadata"]["name"] for body in self._objects.all(OWN["ModelDeployment"])}
        return [
            body for body in self._objects.all(_KIND) if body["spec"]["deployment"] not in known and not _answered(body)
        ]

    def refuse_unclaimed(self, fence: Fence) -> None:
        """Nobody else would ever answer them."""
        for body in self.unclaimed():
            name = body["spec"]["deployment"]
            if self._objects.api.get(OWN["ModelDeployment"], name) is not None:
                continue  # only the watch is late
            spec = body["spec"]
            why = f"there is no ModelDeployment {name}"
            answer = f"{_NAMES[spec['action']]} asked by {spec['requestedBy']}{REFUSED}{why}."
            self.answer(name, {body["metadata"]["uid"]: answer}, fence)

    def _of(self, deployment: str) -> list[Object]:
        return [body for body in self._objects.all(_KIND) if body["spec"]["deployment"] == deployment]


def _answered(body: Object) -> bool:
    return bool((body.get("status") or {}).get("answer"))


def _refused(body: Object, answer: str) -> bool:
    """By how the answer begins: what follows may quote people."""
    spec = body["spec"]
    return answer.startswith(f"{_NAMES[spec['action']]} asked by {spec['requestedBy']}{REFUSED}")


def _submitted(body: Object) -> SubmittedAction:
    spec = from_kube(RolloutActionSpec, body["spec"])
    return SubmittedAction(
        id=body["metadata"]["uid"],
        deployment=spec.deployment,
        action=_NAMES[spec.action],
        by=spec.requested_by,
        reason=printable(spec.reason),
        time=datetime.fromisoformat(body["metadata"]["creationTimestamp"]),
        rollout=spec.rollout,
    )
