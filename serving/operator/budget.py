"""How many workers of an engine an eviction has to leave: its PodDisruptionBudget. Rendering is pure.

`maxUnavailable` needs a scale subresource of what made the pods, which a RayCluster has not (kuberay#2662); a whole
number of `minAvailable` does without. It is of the workers of the active cluster, as the Service before the engine is:
the next engine's, and those of a cluster that KubeRay is about to replace this one with, are not counted for it. The
head has no budget: it is one pod, and a budget of one would keep its node from ever being drained.

A worker is ready for Kubernetes as soon as Ray Serve's proxy answers on it, minutes before its replica has loaded the
model. So while replicas are missing, no worker may be evicted: a drain that waits for pods alone would take the second
replica while the first one's successor loads.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from serving.operator.objects import MANAGED
from serving.operator.rayservice import RUNTIME
from tidegate.adapters.kube.kinds import Object, annotations_of
from tidegate.kube_codec import time_text
from tidegate.ports import EngineStatus

Json = dict[str, Any]
HOLD = timedelta(minutes=30)
"""How long workers are kept from eviction while replicas are missing. Where one does not come back, because there is no
node for it, a budget must not keep all other nodes from being drained for ever."""
SINCE = "tidegate.dev/replicas-missing-since"


def budget(
    engine: str, cluster: str, least: int, status: EngineStatus, before: Object | None, now: datetime
) -> Json | None:
    """The budget of an engine's workers; None for none: then each of them may go.

    Args:
        cluster: the Ray cluster that is active.
        least: replicas, and so workers, that always run (`minReplicas`).
        status: what the engine says of itself.
        before: the budget so far.
    """
    since = _missing_since(status.replicas_ready < least, before, now)
    kept = kept_workers(least, status, held=since is not None and now - since < HOLD)
    if kept < 1:
        return None
    metadata: Json = {"name": budget_name(engine), "labels": {**MANAGED, RUNTIME: engine}}
    if since is not None:
        metadata["annotations"] = {SINCE: time_text(since)}
    return {
        "metadata": metadata,
        "spec": {
            "minAvailable": kept,
            "selector": {"matchLabels": {"ray.io/cluster": cluster, "ray.io/node-type": "worker"}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def kept_workers(least: int, status: EngineStatus, *, held: bool) -> int:
    """Workers that an eviction has to leave.

    All but one of those that serve. Several replicas may share a worker that has room for them (on CPUs): then there
    are fewer than `least`, and a budget that counts on more would never let the one go that holds them all.
    """
    if held and 0 < status.replicas_ready < least:
        return least
    return min(least, status.workers) - 1


def budget_name(engine: str) -> str:
    return f"{engine}-engine"


def same(one: Json, other: Object) -> bool:
    """Whether a budget says what another one says; the API server adds to its metadata only."""
    noted = (one["metadata"].get("annotations") or {}).get(SINCE), annotations_of(other).get(SINCE)
    return bool(one["spec"] == other["spec"]) and noted[0] == noted[1]


def onto(before: Object, wanted: Json) -> Object:
    """The budget that there is, changed to what is wanted."""
    notes = {name: said for name, said in annotations_of(before).items() if name != SINCE}
    notes |= wanted["metadata"].get("annotations") or {}
    return {**before, "spec": wanted["spec"], "metadata": {**before["metadata"], "annotations": notes}}


def _missing_since(missing: bool, before: Object | None, now: datetime) -> datetime | None:
    """Since when replicas are missing of an engine that had them all once; it stands in the budget itself, so that the
    next leader knows it, too."""
    if before is None or not missing:
        return None
    try:
        return min(now, datetime.fromisoformat(annotations_of(before)[SINCE]))
    except (KeyError, ValueError, TypeError):  # it begins now, or somebody wrote what is no time
        return now
