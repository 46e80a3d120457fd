"""Takes pairs that are not scored, joins labels by the shown answer's request id, and writes pair events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from monitoring.scoring.scorers import SCORERS, Scorer, score_pair
from tidegate.adapters.routing_tables import RoutingTables
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.domain.evidence import Pair
from tidegate.errors import Unavailable
from tidegate.logging import get_logger
from tidegate.store.evidence import EvidenceStore
from tidegate.store.leases import SCORER_LEASE, LeaseStore

BATCH = 500
_log = get_logger(__name__)
_REMEMBERED_PAIRS = 20_000

FindLabels = Callable[[str, str], Collection[str] | None]
"""(deployment, version) to the version's valid labels; None when they cannot be known now."""


class LabelBook:
    """Valid labels by version, from the routing table. A version's prompt never changes: what was seen stays true."""

    def __init__(self, routing: RoutingTables) -> None:
        self._routing = routing
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def __call__(self, deployment: str, version: str) -> Collection[str] | None:
        if (deployment, version) not in self._known:
            try:
                table = self._routing.get(deployment)
            except Unavailable as error:  # what needs no set of labels is scored all the same
                _log.info("routing cannot be read; pairs of new versions wait for it", why=error.problem)
                return None
            for arm in table.arms if table else ():
                self._known[deployment, arm.version] = arm.prompt.labels
        return self._known.get((deployment, version))


class ScoringWorker:
    """`tick()` scores one batch. One worker scores at a time (a lease); writing twice would be harmless all the same.

    Args:
        find_labels: a version's valid labels (`LabelBook`).
        label_horizon_seconds: how long a pair waits for its label; after it, label scorers say None (missing).
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        holder: str,
        lease_seconds: float,
        label_horizon_seconds: float,
        find_labels: FindLabels,
        scorers: Mapping[str, Scorer] = SCORERS,
    ) -> None:
        self._evidence = EvidenceStore(db, clock)
        self._leases = LeaseStore(db, clock)
        self._clock = clock
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._horizon = timedelta(seconds=label_horizon_seconds)
        self._find_labels = find_labels
        self._scorers = scorers
        self._epoch: int | None = None
        # Pairs whose label-free scores are written: only a saving, the store knows them too.
        self._partly: OrderedDict[str, None] = OrderedDict()

    def tick(self) -> int:
        """Scores what can be scored; the number of pairs that are done. -1 while another worker holds the lease."""
        self._epoch = self._leases.acquire(SCORER_LEASE, self._holder, self._lease_seconds)
        if self._epoch is None:
            return -1
        pairs = self._evidence.unscored_pairs(BATCH)
        if not pairs:
            return 0
        labels = self._evidence.labels([pair.request_id for pair in pairs])
        events, done, waiting = [], [], []
        for pair in pairs:
            label = labels.get(pair.request_id)
            late = self._clock.now() >= pair.time + self._horizon
            valid = self._valid_labels(pair)
            if label is None and not late and (valid is None or pair.id in self._partly):
                waiting.append(pair.id)
                continue
            events += score_pair(pair, label, valid or {}, final=late, scorers=self._scorers)
            if label is not None or late:
                done.append(pair.id)
                self._partly.pop(pair.id, None)
            else:
                self._remember(pair.id)
        written = self._evidence.add_scores(events, done, looked_at=waiting)
        if written:
            _log.info("pairs scored", done=len(done), events=written, waiting=len(waiting))
        return len(done)

    def release(self) -> None:
        """Hands the lease over at once."""
        if self._epoch is not None:
            self._leases.release(SCORER_LEASE, self._holder, self._epoch)
            self._epoch = None

    def _valid_labels(self, pair: Pair) -> dict[str, Collection[str]] | None:
        """Valid labels of both arms; None while one of them cannot be known."""
        found = {arm.version: self._find_labels(pair.deployment, arm.version) for arm in (pair.stable, pair.candidate)}
        known = {version: labels for version, labels in found.items() if labels is not None}
        return known if len(known) == len(found) else None

    def _remember(self, pair: str) -> None:
        self._partly[pair] = None
        while len(self._partly) > _REMEMBERED_PAIRS:
            self._partly.popitem(last=False)
