"""Whether replicas answer for the version that serves: what a deployment's condition Ready says of its engine.

Pure. A replica that restarts is no news, and a leader that has just begun has not asked yet: only what has lasted is
said. What was said stays until a replica answers, also past a change of leader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.controller.conditions import bounded
from serving.controller.engine_keeper import EngineReport
from serving.rollout.status import ENGINE_DOWN, ENGINE_SILENT, SERVES, Availability

RESTART_SECONDS = 30.0
"""How long a version may be without a replica before it is said: as long as small engines take to restart one."""


def answers(release: str, engine: str, report: EngineReport) -> Availability:
    """What the engine of a release said last.

    Replicas that are missing beside one that runs are the ModelRuntime's to tell: users are served, and an engine that
    scales or loads an adapter is in no trouble.
    """
    if report.status is None:
        trouble = report.trouble or "it has not been asked yet"
        return Availability(None, bounded(f"the engine {engine} of version {release} does not answer: {trouble}"))
    if report.status.replicas_ready == 0:
        why = report.trouble or report.status.message or "none runs"
        return Availability(False, bounded(f"no replica of the engine {engine} answers for version {release}: {why}"))
    return SERVES


def lasting(now: Availability, status: Mapping[str, Any], waited: float) -> Availability:
    """What is worth saying of what the engine said.

    Args:
        status: of the deployment, so far.
        waited: seconds since a replica answered, as far as this process knows.
    """
    if now.serves:
        return now
    ready = next((item for item in status.get("conditions", ()) if item["type"] == "Ready"), None)
    if ready is None or ready["reason"] not in (ENGINE_DOWN, ENGINE_SILENT):
        return now if waited >= RESTART_SECONDS else SERVES
    if now.serves is None and ready["reason"] == ENGINE_DOWN:
        return Availability(False, ready["message"])  # silence takes nothing back
    return now
