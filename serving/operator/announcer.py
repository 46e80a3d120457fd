"""Decisions as Kubernetes Events and counts: the `Announcer` port of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving.controller.local import LogAnnouncer
from serving.operator.metrics import Metrics
from serving.operator.objects import Objects
from serving.rollout.state import Transition
from tidegate.adapters.kube.kinds import EVENT, OWN
from tidegate.clock import Clock
from tidegate.domain.routing import RoutingTable
from tidegate.errors import TidegateError
from tidegate.ids import new_id
from tidegate.kube_codec import time_text
from tidegate.logging import get_logger
from tidegate.store.resources import StoredResource

_log = get_logger(__name__)
_NOTE_BYTES = 1024
"""What the API server takes in an Event's note."""
_WARNINGS = frozenset(
    {
        "HarmFound",
        "DeadlinePassed",
        "MaxPairsReached",
        "Aborted",
        "AbortedAfterPromotion",
        "ActionRefused",
        "PromotedByOperator",
        "Superseded",
    }
)
_BLOCKING = frozenset(
    {
        "AttestationInvalid",
        "BaseDiffers",
        "EvidenceStale",
        "EvidenceUnreadable",
        "GateNotPassed",
        "MetricAbsent",
        "MetricUnknown",
        "NoFreeSlot",
        "RankTooHigh",
        "RejectedVersion",
        "Underpowered",
    }
)
"""Reasons for which a rollout stands still until somebody does something."""
_WAITING = frozenset({"ApprovalRequired", "GatesUndecided", "LoadingAdapter", "NothingNominated", "WaitingForGateways"})


class KubeAnnouncer:
    """Events are for people: that one is lost is worth a line in the log, no more."""

    def __init__(self, objects: Objects, clock: Clock, metrics: Metrics, instance: str) -> None:
        self._objects = objects
        self._clock = clock
        self._metrics = metrics
        self._instance = instance
        self._log = LogAnnouncer()

    def decided(self, stored: StoredResource, transitions: Sequence[Transition], status: Mapping[str, Any]) -> None:
        self._log.decided(stored, transitions, status)
        for item in transitions:
            self._metrics.transitions.labels(stored.name, item.to_phase, item.reason).inc()
            kind = "Warning" if item.reason in _WARNINGS else "Normal"
            self._event(stored, kind, item.reason, item.message, item.to_phase)

    def noted(self, stored: StoredResource, reason: str, message: str) -> None:
        self._log.noted(stored, reason, message)
        if reason in _BLOCKING or reason in _WAITING:
            self._event(stored, "Warning" if reason in _BLOCKING else "Normal", reason, message, "Judge")

    def troubled(self, stored: StoredResource, problem: str) -> None:
        self._log.troubled(stored, problem)
        self._event(stored, "Warning", "Degraded", problem, "Reconcile")

    def recovered(self, stored: StoredResource) -> None:
        self._log.recovered(stored)
        self._event(stored, "Normal", "Recovered", "All parts answer again.", "Reconcile")

    def published(self, stored: StoredResource, table: RoutingTable) -> None:
        self._log.published(stored, table)
        arms = ", ".join(f"version {arm.version} {arm.weight:g}%" for arm in table.arms)
        self._event(stored, "Normal", "RoutingPublished", f"Epoch {table.epoch}: {arms}.", "Route")

    def _event(self, stored: StoredResource, kind: str, reason: str, note: str, action: str) -> None:
        body = self._objects.get(OWN[stored.resource.kind], stored.name)
        if body is None:
            return
        regarding = {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "namespace": body["metadata"]["namespace"],
            "name": body["metadata"]["name"],
            "uid": body["metadata"]["uid"],
            "resourceVersion": body["metadata"]["resourceVersion"],
        }
        event = {
            "metadata": {"name": f"{stored.name}.{new_id().lower()}"},
            "type": kind,
            "reason": reason,
            "note": shortened(note, _NOTE_BYTES),
            "action": action,
            "regarding": regarding,
            "reportingController": "tidegate.dev/operator",
            "reportingInstance": self._instance,
            "eventTime": time_text(self._clock.now()),
        }
        try:
            self._objects.api.create(EVENT, event)
        except TidegateError as error:
            _log.warning("event not written", reason=reason, problem=str(error))


def shortened(text: str, most: int) -> str:
    """At most so many bytes of UTF-8, cut between characters."""
    raw = text.encode()
    return text if len(raw) <= most else raw[: most - len("…".encode())].decode(errors="ignore") + "…"
