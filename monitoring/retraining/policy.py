"""Which alerts retrain: a pure decision over one alert and what is known of its model.

At most one retraining for every (model, fingerprint, startsAt), one active at a time for a model, and none within the
cooldown after the last one ended. A suppressed alert that fires again after the cooldown is decided anew under the
same key, so a drift that persists is not forgotten and still costs one retraining.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tidegate.domain.drift import Alert, RetrainRequest
from tidegate.ids import digest_json

ACTION_LABEL = "tidegate_action"
"""An alert retrains only when it says so: `tidegate_action="retrain"`. A latency alert of a model must not."""

EVIDENCE_ANNOTATION = "report_uri"
_KEY_HEX = 24  # 96 bits: collisions are out of reach, and the key fits Kubernetes names and MLflow tags


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """What the decision needs of a model: the request under this key, the active one, and the last that ended."""

    existing: RetrainRequest | None = None
    active: RetrainRequest | None = None
    last_finished: RetrainRequest | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`request` is None for an alert that asks for nothing."""

    action: Literal["retrain", "suppress", "ignore"]
    reason: str
    request: RetrainRequest | None = None


def request_key(alert: Alert) -> str:
    """`retrain-<24 hex>` of (model, fingerprint, startsAt): the run's name."""
    identity = {"model": alert.model, "fingerprint": alert.fingerprint, "starts_at": alert.starts_at.isoformat()}
    return f"retrain-{digest_json(identity).removeprefix('sha256:')[:_KEY_HEX]}"


def wants_retraining(alert: Alert) -> str | None:
    """None when the alert asks for a retraining, else why it does not."""
    if alert.status == "resolved":
        return "the alert is resolved"
    if alert.labels.get(ACTION_LABEL) != "retrain":
        return f"the alert has no label {ACTION_LABEL}=retrain"
    if not alert.model:
        return "the alert names no model: it needs a label 'model'"
    return None


def decide(alert: Alert, state: ModelState, *, now: datetime, cooldown_seconds: float) -> Decision:
    """Retrain, suppress with a reason that is recorded, or ignore."""
    unasked = wants_retraining(alert)
    if unasked:
        return Decision(action="ignore", reason=unasked)
    if state.existing is not None and state.existing.status != "suppressed":
        return Decision(
            action="ignore", reason=f"{state.existing.key} answers this alert already ({state.existing.status})"
        )
    obstacle = _obstacle(state, now, cooldown_seconds)
    request = _request(alert, now, cooldown_seconds)
    if obstacle:
        suppressed = request.model_copy(update={"status": "suppressed", "status_reason": obstacle})
        return Decision(action="suppress", reason=obstacle, request=suppressed)
    return Decision(action="retrain", reason=request.reason, request=request)


def _obstacle(state: ModelState, now: datetime, cooldown_seconds: float) -> str | None:
    active = state.active
    if active is not None:
        return f"{active.key} of model {active.model!r} is {active.status}; one retraining at a time"
    last = state.last_finished
    if last is not None:
        free_at = last.updated_at + timedelta(seconds=cooldown_seconds)
        if now < free_at:
            return (
                f"cooldown: {last.key} of model {last.model!r} ended at {last.updated_at:%Y-%m-%dT%H:%M:%SZ}, "
                f"the next may start at {free_at:%Y-%m-%dT%H:%M:%SZ}"
            )
    return None


def _request(alert: Alert, now: datetime, cooldown_seconds: float) -> RetrainRequest:
    summary = alert.annotations.get("summary") or alert.annotations.get("description") or alert.name
    return RetrainRequest(
        key=request_key(alert),
        model=alert.model or "",  # wants_retraining has seen to it
        deployment=alert.deployment,
        reason=f"{alert.name}: {summary}" if summary != alert.name else alert.name,
        evidence_uri=alert.annotations.get(EVIDENCE_ANNOTATION),
        alert=alert.dedup_key,
        cooldown_seconds=cooldown_seconds,
        created_at=now,
        updated_at=now,
    )
