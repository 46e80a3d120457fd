"""Applies the policy to stored alerts: reads the model's state, decides, and records request and outcome together."""

from __future__ import annotations

from monitoring.retraining.policy import Decision, ModelState, decide, request_key
from tidegate.clock import Clock
from tidegate.db import Database
from tidegate.domain.drift import Alert
from tidegate.errors import Conflict
from tidegate.logging import get_logger
from tidegate.store.alerts import AlertStore
from tidegate.store.retraining import RetrainStore

_log = get_logger(__name__)
_BATCH = 200


class RetrainDecisions:
    """Any number of receivers may decide at once: keys and the one-active-per-model index are the database's."""

    def __init__(self, db: Database, clock: Clock, *, cooldown_seconds: float) -> None:
        self._db = db
        self._clock = clock
        self._alerts = AlertStore(db, clock)
        self._requests = RetrainStore(db, clock)
        self._cooldown_seconds = cooldown_seconds

    def settle_pending(self) -> int:
        """Decides about every stored alert that nobody has decided about; returns how many."""
        settled = 0
        while batch := self._alerts.pending(_BATCH):
            for alert in batch:
                self._settle(alert)
            settled += len(batch)
            if len(batch) < _BATCH:
                break
        return settled

    def reconsider(self, alert: Alert) -> Decision | None:
        """Decides anew about an alert that was suppressed and fires again; None when there is nothing to reconsider.

        The alert must still be firing as far as anybody told: a late copy of one that was resolved starts nothing.
        """
        if alert.status != "firing" or not alert.model:
            return None
        existing = self._requests.get(request_key(alert))
        if existing is None or existing.status != "suppressed" or self._is_resolved(alert):
            return None
        with self._db.write() as conn:
            decision = self._decide(alert)
            if decision.action == "retrain" and decision.request is not None:
                try:
                    told = "it fires again and nothing stands in the way any more"
                    self._requests.update(existing.key, "pending", told, was="suppressed", conn=conn)
                except Conflict as error:  # another receiver was first (PostgreSQL)
                    return Decision(action="suppress", reason=error.problem)
                _log.info("retraining requested", key=existing.key, model=alert.model, why=decision.reason)
        return decision

    def _settle(self, alert: Alert) -> None:
        with self._db.write() as conn:  # SQLite: the write lock is held, so what is read below stays true
            decision = self._decide(alert)
            outcome = f"{decision.action}: {decision.reason}"
            if decision.request is not None:
                stored, created = self._requests.create(decision.request, actor="receiver", conn=conn)
                if not created and stored.key != decision.request.key:
                    reason = f"{stored.key} of model {stored.model!r} is {stored.status}; one retraining at a time"
                    late = decision.request.model_copy(update={"status": "suppressed", "status_reason": reason})
                    self._requests.create(late, actor="receiver", conn=conn)
                    outcome = f"suppress: {reason}"
            self._alerts.settle(alert.dedup_key, outcome, conn=conn)
        _log.info("alert settled", alert=alert.dedup_key, name=alert.name, outcome=outcome)

    def _decide(self, alert: Alert) -> Decision:
        model = alert.model or ""
        state = ModelState(
            existing=self._requests.get(request_key(alert)),
            active=self._requests.active(model),
            last_finished=self._requests.last_finished(model),
        )
        return decide(alert, state, now=self._clock.now(), cooldown_seconds=self._cooldown_seconds)

    def _is_resolved(self, alert: Alert) -> bool:
        return self._alerts.known(alert.model_copy(update={"status": "resolved"}).dedup_key)
