"""A cluster: the objects of one namespace, by the caller's own rights."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import Any, get_args

from pydantic import ValidationError

from serving.rollout.operator_actions import REFUSED
from serving.rollout.state import RolloutState, Transition
from tidegate.adapters.kube.kinds import LEASE, OWN, Object
from tidegate.adapters.kube.person import PersonApi
from tidegate.cli.substrates.kube_errors import told
from tidegate.cli.substrates.port import Answer, Asked, Deployment
from tidegate.domain.resource_base import ResourceCondition
from tidegate.domain.rollout_resources import RolloutVerb
from tidegate.errors import Conflict, ContractBroken, Denied, TidegateError, Unavailable
from tidegate.ids import new_id
from tidegate.kube_codec import from_kube

_DEPLOYMENT, _ROLLOUT, _ACTION = OWN["ModelDeployment"], OWN["ModelRollout"], OWN["RolloutAction"]
_VERBS = {verb.lower(): verb for verb in get_args(RolloutVerb)}
_SUBMIT_TRIES = 3
_RACE_SECONDS = 1.0
"""So long after it was taken back a request can still turn out to have been read before."""


class ClusterRollouts:
    """The `Rollouts` port. Who asks is whom the API server takes the caller for."""

    def __init__(self, api: PersonApi) -> None:
        self._api = api

    @property
    def place(self) -> str:
        context = f" (context {self._api.context})" if self._api.context else ""
        return f" in namespace {self._api.namespace!r}{context}"

    def all(self) -> list[Deployment]:
        with told(self._api):
            found, _ = self._api.list(_DEPLOYMENT)
        return sorted(map(_deployment, found), key=lambda deployment: deployment.name)

    def get(self, name: str) -> Deployment | None:
        with told(self._api):
            body = self._api.get(_DEPLOYMENT, name)
        return _deployment(body) if body is not None else None

    def state(self, deployment: Deployment) -> RolloutState | None:
        stored = deployment.status.get("state")
        try:
            return from_kube(RolloutState, stored) if stored else None
        except (ValidationError, TypeError, ValueError) as error:
            raise ContractBroken(
                f"status.state of ModelDeployment {deployment.name!r} cannot be read: {type(error).__name__}",
                next_step="Use the operator's release of tidegate; 'tidegate --version' says which one this is.",
            ) from None

    def history(self, deployment: Deployment) -> list[dict[str, Any]]:
        """The transitions in the status, the newest 40, and before them how each attempt that is kept ended.

        It asks no database, which an engineer's machine does not reach; the ledger has every transition.
        """
        state = self.state(deployment)
        newest = state.history if state is not None else ()
        told_of = {item.rollout for item in newest}
        with told(self._api):
            found, _ = self._api.list(_ROLLOUT)
        mine = [body for body in found if body["spec"]["deployment"] == deployment.name]
        older = [_ended(body) for body in mine if body["metadata"]["name"] not in told_of]
        return [*sorted(older, key=lambda row: str(row["time"])), *map(_row, newest)]

    def submit(self, deployment: str, action: str, reason: str, rollout: str | None) -> Asked:
        """The name is chosen here, so that a request whose answer is lost on the way arrives once however often it is
        sent.
        """
        with told(self._api):
            user = self._api.whoami()
            spec = {"deployment": deployment, "action": _VERBS[action], "requestedBy": user, "reason": reason}
            spec |= {"rollout": rollout} if rollout is not None else {}
        name = f"{action}-{new_id().lower()}"
        made = self._arrived({"metadata": {"name": name}, "spec": spec})
        return Asked(str(made["metadata"]["uid"]), name, deployment, user)

    def answer(self, asked: Asked) -> Answer | None:
        with told(self._api):
            body = self._api.get(_ACTION, asked.name)
        return _answer(body)

    def withdraw(self, asked: Asked) -> Answer | None:
        """See the port. One that is answered meanwhile is found out: it is deleted as it was read, or not at all."""
        with told(self._api):
            while (body := self._api.get(_ACTION, asked.name)) is not None:
                answered = _answer(body)
                if answered is not None:
                    return answered
                with suppress(Conflict):
                    self._api.delete(_ACTION, asked.name, resource_version=body["metadata"]["resourceVersion"])
            return self._read_before(asked)

    def controller_hint(self) -> str:
        from serving.controller.loop import LEASE as NAME  # noqa: PLC0415 - the whole controller

        where = self._api.namespace
        step = f"See the operator's pods: kubectl get pods -n {where}"
        try:
            lease = self._api.get(LEASE, NAME)
        except TidegateError:
            return f"{step}."
        spec = (lease or {}).get("spec") or {}
        if not spec.get("holderIdentity"):
            return f"No operator leads namespace {where!r}. {step}."
        said = f"lease {NAME} was last renewed at {spec.get('renewTime')} by {spec['holderIdentity']}"
        return f"{step}; {said}."

    def _arrived(self, body: Object) -> Object:
        name = body["metadata"]["name"]
        for _ in range(_SUBMIT_TRIES):
            try:
                with told(self._api):
                    return self._api.create(_ACTION, body)
            except Denied:
                raise
            except Unavailable as error:
                problem = error.problem
            except Conflict:
                found = self._api.get(_ACTION, name)
                if found is None:
                    raise
                return found  # it had arrived the time before
        raise Unavailable(
            f"{problem}; whether the request has arrived is not known",
            next_step=f"Look with 'kubectl get ract {name} -n {self._api.namespace}', and ask again if it is not.",
        )

    def _read_before(self, asked: Asked) -> Answer | None:
        """The answer of an operator that had read the request before it was taken back: the history has it."""
        deadline = time.monotonic() + _RACE_SECONDS
        while True:
            body = self._api.get(_DEPLOYMENT, asked.deployment)
            state = self.state(_deployment(body)) if body is not None else None
            for item in state.history if state is not None else ():
                if item.action == asked.id:
                    return Answer(item.message, REFUSED not in item.message)
            if time.monotonic() > deadline:
                return None
            time.sleep(_RACE_SECONDS / 4)


def _deployment(body: Object) -> Deployment:
    status = dict(body.get("status") or {})
    conditions = [from_kube(ResourceCondition, item) for item in status.get("conditions", ())]
    status["conditions"] = [item.model_dump(mode="json") for item in conditions]
    return Deployment(body["metadata"]["name"], status, "deletionTimestamp" in body["metadata"])


def _answer(action: Object | None) -> Answer | None:
    status = (action or {}).get("status") or {}
    return Answer(str(status["answer"]), bool(status.get("accepted"))) if status.get("answer") else None


def _row(item: Transition) -> dict[str, Any]:
    return {**item.model_dump(mode="json"), "time": item.time.isoformat(timespec="seconds")}


def _ended(rollout: Object) -> dict[str, Any]:
    """An attempt of which only the record for people is left."""
    status = rollout.get("status") or {}
    at = status.get("endedAt") or status.get("startedAt") or rollout["metadata"]["creationTimestamp"]
    return {
        "time": datetime.fromisoformat(at).isoformat(timespec="seconds"),
        "rollout": rollout["metadata"]["name"],
        "to_phase": status.get("phase"),
        **{key: status.get(key) for key in ("step", "weight", "reason", "message")},
        "by": None,
    }
