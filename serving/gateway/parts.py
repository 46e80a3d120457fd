"""What a gateway is made of. `assembly.py` builds it from the settings, tests build it from stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.gateway.auth import Authenticate
from serving.gateway.batching import BatchWriter
from serving.gateway.drain import Drain
from serving.gateway.features import FeatureLookup
from serving.gateway.identity import Pseudonyms
from serving.gateway.metrics import Metrics
from serving.gateway.mirror import Mirroring
from serving.gateway.recorder import Recorder
from serving.gateway.routing_watch import RoutingWatch
from serving.gateway.upstream import EngineClient
from serving.gateway.windows import ArmCounter
from tidegate.clock import Clock
from tidegate.domain.evidence import ArmWindow, Feedback, Pair
from tidegate.inference_log import LogRow
from tidegate.plane_settings import Limits


class EvidenceSink(Protocol):
    """The part of `tidegate.store.evidence.EvidenceStore` that a request writes to by itself."""

    def add_feedback(self, new: Sequence[Feedback]) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """One gateway's parts, each with one job."""

    authenticate: Authenticate
    limits: Limits
    watch: RoutingWatch
    features: FeatureLookup
    engine: EngineClient
    mirroring: Mirroring
    recorder: Recorder
    counter: ArmCounter
    evidence: Callable[[], EvidenceSink]
    log: BatchWriter[LogRow]
    pairs: BatchWriter[Pair]
    windows: BatchWriter[ArmWindow]
    pseudonyms: Pseudonyms
    drain: Drain
    clock: Clock
    metrics: Metrics

    @property
    def writers(self) -> tuple[BatchWriter[LogRow], BatchWriter[Pair], BatchWriter[ArmWindow]]:
        return self.log, self.pairs, self.windows
