"""What the gateway tells Prometheus. One registry a gateway, so that tests can run several in a process."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.gateway.engine_wire import FailureKind
from tidegate.domain.evidence import ArmOutcome
from tidegate.domain.routing import RoutingTable

Outcome = Literal["ok", "error", "timeout", "invalid", "refused", "abandoned"]
"""`refused`: the engine said that the request itself is wrong. `abandoned`: the client went away during the answer."""
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/feedback", "/readyz")
"""What answers are counted by; any other path is `other`."""
_STATUSES = ("200", "400", "401", "403", "404", "429", "500", "502", "503", "504")
_KNOWN = {
    "dropped": ("log", "pairs", "windows"),
    "mirror_shed": ("busy", "concurrency"),
    "feature_failures": ("absent", "overloaded", "timeout", "error"),
    "feedback": ("label", "rating"),
    "mirrored": get_args(ArmOutcome),
}

# Coarser than the evidence's buckets: each bucket is a time series per version and role.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The gateway's metrics; attributes are Prometheus instruments.

    Counters begin at 0 wherever their labels are known: `rate` and `increase` see a series' second sample first, so
    that one which begins at 1 hides its first event.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        arm = ("deployment", "version", "role")
        self.responses = Counter(
            "tidegate_gateway_responses", "HTTP answers by path and status", ("path", "status"), registry=self.registry
        )
        self.requests = Counter(
            "tidegate_gateway_requests",
            "Completed model requests as users saw them, by the arm that answered",
            (*arm, "outcome"),
            registry=self.registry,
        )
        self.arm_failures = Counter(
            "tidegate_gateway_arm_failures",
            "First attempts at an arm that failed, including those that a retry hid from the user",
            (*arm, "kind"),
            registry=self.registry,
        )
        self.latency = Histogram(
            "tidegate_gateway_latency_seconds",
            "From the request's arrival to the end of its answer",
            arm,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.ttft = Histogram(
            "tidegate_gateway_ttft_seconds",
            "From the request's arrival to the first token of a stream",
            arm,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("tidegate_gateway_in_flight", "Model requests in flight", registry=self.registry)
        self.overloaded = Counter(
            "tidegate_gateway_overloaded", "Requests refused because too many were in flight", registry=self.registry
        )
        self.mirrored = Counter(
            "tidegate_gateway_mirrored",
            "Mirrored first turns by the other arm's outcome",
            ("outcome",),
            registry=self.registry,
        )
        self.mirror_shed = Counter(
            "tidegate_gateway_mirror_shed",
            "Sampled first turns that were not mirrored",
            ("reason",),
            registry=self.registry,
        )
        self.feature_failures = Counter(
            "tidegate_gateway_feature_failures",
            "Feature lookups that failed; the request was answered with unknown features",
            ("reason",),
            registry=self.registry,
        )
        self.dropped = Counter(
            "tidegate_gateway_dropped",
            "Items lost because a store did not take them",
            ("writer",),
            registry=self.registry,
        )
        self.feedback = Counter(
            "tidegate_gateway_feedback", "Feedback stored, by kind", ("kind",), registry=self.registry
        )
        self.epoch = Gauge(
            "tidegate_gateway_routing_epoch", "Routing epoch in force", ("deployment",), registry=self.registry
        )
        self.routing_failures = Counter(
            "tidegate_gateway_routing_failures", "Looks at the routing store that failed", registry=self.registry
        )
        self.ready = Gauge(
            "tidegate_gateway_ready", "1 while this gateway can serve somebody, as /readyz says", registry=self.registry
        )
        for name, values in _KNOWN.items():
            for value in values:
                getattr(self, name).labels(value)
        for path in (*PATHS, "other"):
            for status in _STATUSES:
                self.responses.labels(path, status)

    def expect(self, table: RoutingTable) -> None:
        """Requests of these arms may follow."""
        for arm in table.arms:
            for outcome in get_args(Outcome):
                self.requests.labels(table.deployment, arm.version, arm.role, outcome)
            for kind in get_args(FailureKind):
                self.arm_failures.labels(table.deployment, arm.version, arm.role, kind)

    def render(self) -> bytes:
        return generate_latest(self.registry)
