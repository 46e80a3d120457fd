"""What the API server shows of a RayJob, turned into sentences and, at its end, into an error."""

from __future__ import annotations

import time
from typing import Final

from tidegate.adapters.kube.api import KubeApi
from tidegate.adapters.kube.kinds import Object
from tidegate.adapters.kube.kueue import held, queue_of, unmanaged
from tidegate.adapters.kube.pods import POD, troubles
from tidegate.adapters.rayjob_manifest import CLUSTER_LABEL, RAY_JOB
from tidegate.errors import Conflict, InvalidInput, ResourceExhausted, TidegateError, Unavailable

GRACE_SECONDS: float = 20.0
"""Between the end of a RayJob and its outcome in the store, which may show it late."""
_SILENT_SECONDS: Final = 60.0
"""A RayJob without any status for so long has no operator."""
_ENDED: Final = frozenset({"Complete", "Failed", "ValidationFailed"})
_BEFORE_WORK: Final = frozenset({"", "Initializing", "Waiting", "Retrying"})
_TOO_LONG: Final = "DeadlineExceeded"
_NEVER_BEGAN: Final = "PreRunningDeadlineExceeded"
"""Reasons of KubeRay's for its own deadlines; the second is for when no step is there to notice."""
_QUEUED: Final = frozenset({"Suspended", "Suspending"})
_LONGEST_NEWS: Final = 300
_LONGEST_END: Final = 900


class RayJobView:
    """What the API server shows of a RayJob, turned into sentences and, at its end, into an error."""

    def __init__(self, api: KubeApi, name: str, pending_seconds: float) -> None:
        self._api, self._name, self._pending = api, name, pending_seconds
        self._began = self._waiting_since = time.monotonic()
        self._ended_since = 0.0
        self._told: set[str] = set()
        self._state: str | None = None
        self._accounted = False

    def look(self) -> tuple[list[str], TidegateError | None]:
        """News, and why there will be no outcome."""
        body = self._api.get(RAY_JOB, self._name)
        if body is None:
            return self._gone()
        status = body.get("status") or {}
        state = str(status.get("jobDeploymentStatus") or "")
        news = []
        if state != self._state:
            self._state = state
            news.append(f"RayJob {self._name}: {state or 'created'}{self._reason(status)}")
        if state in _ENDED:
            return news, self._ended(body)
        found = self._delays(body, state)
        news += [sentence for sentence in found if sentence not in self._told]
        self._told.update(found)
        begun = state not in _BEFORE_WORK and state not in _QUEUED
        if begun:
            self._waiting_since = time.monotonic()  # a queue may take it out again
        elif time.monotonic() - self._waiting_since > self._pending:
            return news, self._never_began(found)
        return news, None

    def _delays(self, body: Object, state: str) -> list[str]:
        """What keeps the work from its beginning, or kept it from nothing though it should have."""
        queue = queue_of(body)
        if state in _QUEUED:
            found = held(self._api, body) if queue else None
            if found is None or not found.in_vain:
                self._waiting_since = time.monotonic()  # a queue may be long
            why = f": {found.why}" if found is not None else ""
            return [f"RayJob {self._name} waits in Kueue's queue {queue!r}{why}"] if queue else []
        if state in _BEFORE_WORK:
            return self._troubles(body) + self._silence(body)
        if queue and not self._accounted:
            self._accounted = True
            why = unmanaged(self._api, body)
            return [f"queue {queue!r} of the node pool does not hold RayJob {self._name} back: {why}"] if why else []
        return []

    def _silence(self, body: Object) -> list[str]:
        if body.get("status") or time.monotonic() - self._began <= _SILENT_SECONDS:
            return []
        return [f"RayJob {self._name} has no status: does the KubeRay operator run and see this namespace?"]

    def _gone(self) -> tuple[list[str], TidegateError | None]:
        if not self._patient():
            # Whoever deletes it wants it to stop; tried again it would train from the beginning.
            step = "Somebody stopped the training that way. To go on, start a run; a retry does so after 15 minutes."
            return [], Conflict(f"RayJob {self._name} was deleted before it ended", next_step=step)
        return [], None

    def _ended(self, body: Object) -> TidegateError | None:
        if self._patient():
            return None
        status = body.get("status") or {}
        if status.get("reason") == _TOO_LONG:
            return self._too_long(body["spec"])
        found = self._troubles(body)
        if status.get("reason") == _NEVER_BEGAN:
            return self._never_began(found)
        told = "; ".join([*found, str(status.get("message") or "")]).strip("; ") or "its pods are gone"
        reason = str(status.get("reason") or status.get("jobStatus") or status.get("jobDeploymentStatus"))
        problem = f"RayJob {self._name} ended without an outcome ({reason}): {_shortened(told, _LONGEST_END)}"
        if "OOMKilled" in told and not body["spec"].get("clusterSelector"):  # final: it needs as much memory again
            return InvalidInput(
                problem, next_step="Give the node pool's pods more memory (its value memory), or lower batch_size."
            )
        return Unavailable(
            problem, next_step="The step is tried again; kubectl get events tells of its pods for an hour."
        )

    def _too_long(self, spec: Object) -> TidegateError:
        """Final: the same work takes as long again, and costs as much."""
        seconds = spec.get("activeDeadlineSeconds", "?")
        return InvalidInput(
            f"RayJob {self._name} did not end within {seconds} s and was ended ({_TOO_LONG})",
            next_step="Give it longer (training.deadlineSeconds in the site file, then compile and upload), "
            "or less to do: fewer steps or rows, more workers, a faster node pool.",
        )

    def _never_began(self, found: list[str]) -> TidegateError:
        told = "; ".join(found) or "nobody says why"
        return ResourceExhausted(
            f"RayJob {self._name} did not begin within {self._pending:.0f} s: {told}",
            next_step="Mend what it names; a pool with free nodes can be chosen with the parameter node_pool.",
        )

    def _patient(self) -> bool:
        """The store may show an outcome later than the API server shows the end."""
        self._ended_since = self._ended_since or time.monotonic()
        return time.monotonic() - self._ended_since < GRACE_SECONDS

    def _troubles(self, body: Object) -> list[str]:
        existing = str((body["spec"].get("clusterSelector") or {}).get(CLUSTER_LABEL, ""))
        cluster = existing or (body.get("status") or {}).get("rayClusterName")
        if not cluster:
            return []
        try:
            pods = self._api.list(POD, labels=f"{CLUSTER_LABEL}={cluster}")[0]
        except TidegateError:
            return []
        if existing and not pods:  # KubeRay says it in an event alone, and waits
            return [
                f"there is no pod of RayCluster {existing!r} (training.cluster) in namespace {self._api.namespace!r}"
            ]
        return troubles(pods)

    @staticmethod
    def _reason(status: Object) -> str:
        told = ": ".join(str(status[name]) for name in ("reason", "message") if status.get(name))
        return f" ({_shortened(told, _LONGEST_NEWS)})" if told else ""


def _shortened(told: str, longest: int) -> str:
    """One line, with beginning and end: KubeRay's message is a sentence and then the log, whose end has the reason."""
    told = " ".join(told.split())
    return told if len(told) <= longest else f"{told[: longest // 3]} … {told[-2 * longest // 3 :]}"
