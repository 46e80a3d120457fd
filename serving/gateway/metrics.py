"""What the gateway tells Prometheus. One registry a gateway, so that tests can run several in a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Coarser than the evidence's buckets: each bucket is a time series per version and role.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The gateway's metrics; attributes are Prometheus instruments."""

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
        for writer in ("log", "pairs", "windows"):
            self.dropped.labels(writer)

    def render(self) -> bytes:
        return generate_latest(self.registry)
