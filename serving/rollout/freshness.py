"""Whether evidence still flows. What has stopped lets nothing advance: silence is not a pass."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from serving.rollout.evidence import Evidence
from serving.rollout.statistics.concurrent import parse_latency
from tidegate.domain.evidence import ArmWindow
from tidegate.domain.resources import RolloutMetric, RolloutPlan
from tidegate.domain.routing import Role

STALE = timedelta(seconds=120)
"""Evidence older than this does not let a rollout advance: traffic or scoring has stopped."""


def stale(plan: RolloutPlan, weight: float, evidence: Evidence, scoring: bool, now: datetime) -> str | None:
    """Why the evidence lets nothing advance now, a sentence; None when it flows.

    Args:
        weight: percent of users on the candidate.
        scoring: whether a scorer of pairs is at work.
    """
    if not scoring and plan.paired:
        return "No scorer of pairs is at work, so nothing advances; see `tidegate status`, on a cluster its pods."
    newest = evidence.newest
    if newest is None or now - newest > STALE:
        since = f"since {newest:%H:%M:%S} UTC" if newest is not None else "yet"
        return f"No new evidence {since}: traffic or scoring has stopped, so nothing advances."
    stopped = [metric.name for metric in plan.metrics if not _flows(metric, weight, evidence, now)]
    if stopped:
        return f"No new evidence of {' and '.join(stopped)} from every version with users, so nothing advances."
    return None


def _flows(metric: RolloutMetric, weight: float, evidence: Evidence, now: datetime) -> bool:
    """Whether every arm with users still emits a concurrent metric.

    Some requests of an hour ago would otherwise be "no harm found" for all that has not been measured since. Of a
    paired metric the judgement says itself what is missing, and a pair's time is that of its turn: a label of
    yesterday's pair is news.
    """
    if metric.comparison == "Paired" or weight == 0:
        return True
    serving: set[Role] = {"candidate", "stable"} if weight < 100 else {"candidate"}
    return serving <= emitting(metric.name, [w for w in evidence.windows if abs(now - w.block_start) <= STALE])


def emitting(metric: str, windows: Sequence[ArmWindow]) -> set[Role]:
    """The arms whose windows carry a concurrent metric."""
    latency = parse_latency(metric)
    if latency is None:
        return {window.role for window in windows if metric == "error-rate" and window.requests}
    return {w.role for w in windows if any(w.ttft_counts if latency.what == "ttft" else w.latency_counts)}
