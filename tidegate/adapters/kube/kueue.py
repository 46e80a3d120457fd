"""Kueue, which holds training jobs back until their queue has room for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidegate.adapters.kube.api import KubeApi, NotThere
from tidegate.adapters.kube.kinds import ApiKind, Object
from tidegate.domain.node_pools import QUEUE_LABEL
from tidegate.errors import TidegateError

_JOB_LABEL: Final = "kueue.x-k8s.io/job-uid"
_WORKLOADS: Final = tuple(
    ApiKind("Workload", f"kueue.x-k8s.io/{version}", "workloads") for version in ("v1beta2", "v1beta1")
)
"""The second for Kueue before 0.15."""


@dataclass(frozen=True, slots=True)
class Held:
    """How Kueue sees a job that does not run."""

    why: str
    in_vain: bool
    """Somebody must mend the queue, or the job's place in it: waiting alone helps nothing."""


def queue_of(body: Object) -> str:
    """The LocalQueue that an object names; empty when it names none."""
    return str((body["metadata"].get("labels") or {}).get(QUEUE_LABEL, ""))


def held(api: KubeApi, job: Object) -> Held | None:
    """Why Kueue holds a job back; None when nobody knows: no right to look, or no Workload yet."""
    try:
        found = _list(api, job)
    except TidegateError:
        return None
    return _held(found[0]) if found else None


def unmanaged(api: KubeApi, job: Object) -> str:
    """Why a queue that a job names means nothing to it; empty when Kueue keeps account of the job, or nobody knows.

    A label alone stops no job: without Kueue, or where it does not look after this kind, the job just runs.
    """
    try:
        found = _list(api, job)
    except NotThere:
        return "this cluster has no Kueue"
    except TidegateError:
        return ""
    return "" if found else f"Kueue keeps no account of it; does it integrate {job.get('kind', 'RayJob')}s?"


def _list(api: KubeApi, job: Object) -> list[Object]:
    labels = f"{_JOB_LABEL}={job['metadata'].get('uid', '')}"
    newest, older = _WORKLOADS
    try:
        return api.list(newest, labels=labels)[0]
    except NotThere:
        return api.list(older, labels=labels)[0]


def _held(workload: Object) -> Held:
    """Of its conditions (Kueue, "Workload"), the one that somebody can do something about."""
    if workload["spec"].get("active") is False:
        return Held("its Workload is deactivated", in_vain=True)
    status = workload.get("status") or {}
    conditions: dict[str, Mapping[str, Any]] = {item["type"]: item for item in status.get("conditions") or ()}
    reserved = conditions.get("QuotaReserved", {})
    if reserved.get("status") == "True":
        checks = [
            f"{check.get('name')} {check.get('state', 'Pending')}: {check.get('message', '')}".rstrip(": ")
            for check in status.get("admissionChecks") or ()
            if check.get("state") != "Ready"
        ]
        return Held(f"there is room; admission checks: {'; '.join(checks)}" if checks else "it begins", in_vain=False)
    why = str(reserved.get("message") or "it is not its turn yet")
    evicted = conditions.get("Evicted", {})
    if evicted.get("status") == "True":
        why = f"evicted ({evicted.get('reason')}): {evicted.get('message')}; {why}"
    return Held(why, in_vain=reserved.get("reason") == "Inadmissible")
