"""What the receiver counts, in Prometheus' words."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.alerts.sources import SOURCES

_ANSWERS = ("202", "400", "401", "413", "503")


class ReceiverMetrics:
    """One registry a receiver, so that several in one process (tests) do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            "tidegate_receiver_deliveries_total", "Deliveries by answer", ["source", "status"], registry=self.registry
        )
        self.alerts = Counter(
            "tidegate_receiver_alerts_total", "Alerts, new or seen before", ["source", "known"], registry=self.registry
        )
        self.store_seconds = Histogram(
            "tidegate_receiver_store_seconds", "Time until a delivery is stored", registry=self.registry
        )
        self.dispatching = Gauge(
            "tidegate_receiver_dispatching",
            "1 while this receiver holds the dispatcher's lease",
            registry=self.registry,
        )
        self.dispatch_errors = Counter(
            "tidegate_receiver_dispatch_errors_total", "Rounds of the dispatcher that failed", registry=self.registry
        )
        for source in SOURCES:  # from 0 on: `increase` does not see the first event of a series that begins at 1
            for status in _ANSWERS:
                self.deliveries.labels(source, status)
            for known in ("no", "yes"):
                self.alerts.labels(source, known)
