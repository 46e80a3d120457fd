"""What Prometheus scrapes of an operator.

Gauges say what the objects' statuses say, so any leader shows the same; a standby shows none of them. What happens once
is a point in time out of a status: a counter of this process knows nothing of what another leader did, and `increase`
nothing of a series that begins at 1.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from serving.controller.conditions import is_ready, trouble_of
from serving.rollout.state import DECISIONS
from tidegate.adapters.kube.kinds import Object

PHASES = tuple(DECISIONS)
_Samples = dict[tuple[str, ...], float]


class Metrics:
    """Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._shown: dict[Gauge, _Samples] = {}
        self.leading = Gauge("tidegate_operator_leading", "1 while this operator leads.", registry=self.registry)
        self.waiting = Gauge(
            "tidegate_ledger_facts_waiting", "Facts that the ledger has not taken yet.", registry=self.registry
        )
        self.transitions = Counter(
            "tidegate_rollout_transitions",
            "Transitions of rollouts.",
            ("deployment", "phase", "reason"),
            registry=self.registry,
        )
        one = ("deployment",)
        self._phase = self._of_objects(
            "tidegate_rollout_phase", "1 for the deployment's phase.", ("deployment", "phase")
        )
        self._weight = self._of_objects("tidegate_rollout_candidate_weight_percent", "Users on the candidate.", one)
        self._pairs = self._of_objects("tidegate_rollout_pairs", "Scored pairs of the attempt.", one)
        self._rolled_back = self._of_objects(
            "tidegate_rollout_rolled_back_timestamp_seconds",
            "When the deployment was last rolled back for this reason.",
            ("deployment", "reason"),
        )
        self._epoch = self._of_objects("tidegate_routing_published_epoch", "Epoch of the routing in force.", one)
        self._trouble = self._of_objects("tidegate_deployment_degraded", "1 while a part does not work.", one)
        self._serving = self._of_objects(
            "tidegate_deployment_serving",
            "1 while replicas answer for the version that serves; absent before there is one.",
            ("deployment", "runtime"),
        )
        self._ready = self._of_objects("tidegate_runtime_ready", "The runtime's condition Ready.", ("runtime",))
        self._replicas = self._of_objects(
            "tidegate_runtime_replicas", "Replicas of the runtime's engine, as last known.", ("runtime", "state")
        )

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

    def expect(self, deployments: Iterable[str]) -> None:
        """Counters of what may happen to these deployments begin at 0, also on a standby: `increase` sees a series'
        second sample first."""
        for name in deployments:
            for phase, reasons in DECISIONS.items():
                for reason in (*reasons, "ActionRefused"):
                    self.transitions.labels(name, phase, reason)

    def show(self, deployments: Iterable[Object], routings: Iterable[Object], runtimes: Iterable[Object]) -> None:
        """Gauges of the objects that there are. Others are forgotten: they are gone, or another operator leads."""
        found: dict[Gauge, _Samples] = {gauge: {} for gauge in self._shown}
        epochs = {body["metadata"]["name"]: float(body["spec"]["epoch"]) for body in routings}
        for body in deployments:
            name, status = body["metadata"]["name"], body.get("status") or {}
            found[self._phase] |= {(name, phase): float(phase == status.get("phase")) for phase in PHASES}
            found[self._weight][name,] = float(status.get("weight") or 0)
            found[self._pairs][name,] = float(status.get("pairs") or 0)
            found[self._rolled_back] |= {(name, reason): at for reason, at in rolled_back(status).items()}
            found[self._epoch][name,] = epochs.get(name, 0.0)
            found[self._trouble][name,] = float(trouble_of(status) is not None)
            if status.get("stable"):
                found[self._serving][name, body["spec"]["runtimeRef"]["name"]] = float(is_ready(status))
        for body in runtimes:
            name, status = body["metadata"]["name"], body.get("status") or {}
            found[self._ready][name,] = float(is_ready(status))
            found[self._replicas][name, "ready"] = float(status.get("replicasReady") or 0)
            found[self._replicas][name, "wanted"] = float(status.get("replicasWanted") or 0)
        with self._lock:
            for gauge, samples in found.items():
                for labels, value in samples.items():
                    gauge.labels(*labels).set(value)
                for labels in self._shown[gauge].keys() - samples.keys():
                    gauge.remove(*labels)
            self._shown = found

    def _of_objects(self, name: str, what: str, labels: Sequence[str]) -> Gauge:
        made = Gauge(name, what, labels, registry=self.registry)
        self._shown[made] = {}
        return made


def rolled_back(status: Mapping[str, Any]) -> dict[str, float]:
    """Reason -> when (Unix seconds) a deployment was last rolled back for it, as far as its status goes back.

    A state that is not understood, which a person or a backup may have written, says nothing.
    """
    found: dict[str, float] = {}
    try:
        for item in (status.get("state") or {}).get("history") or ():
            if item["toPhase"] == "RollingBack" and item["fromPhase"] != "RollingBack":
                found[str(item["reason"])] = datetime.fromisoformat(item["time"]).timestamp()
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    return found
