"""Sends alerts as Alertmanager does (webhook v4), for parts of the platform that notice something themselves.

The start time of a firing alert is kept in the database until the alert is resolved, so that the same trouble noticed
ten times, by ten pods, is one alert for every receiver: same fingerprint, same startsAt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from monitoring.alerts.sources.alertmanager import fingerprint
from tidegate.clock import Clock, SystemClock
from tidegate.errors import InvalidInput, Unavailable
from tidegate.store.firing import FiringStore

ZERO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time: endsAt of an alert that still fires
_TIMEOUT_SECONDS = 35.0  # above the receiver's own longest wait for its database
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class OwnAlert:
    """An alert of the platform's own; the labels (with `alertname`) are its identity."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    firing: bool = True
    generator_url: str = ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.labels)


class AlertClient:
    """Posts to a receiver, with a few attempts; a resolved alert that never fired is not sent."""

    def __init__(
        self,
        receiver_url: str,
        token: str,
        firing: FiringStore,
        *,
        clock: Clock | None = None,
        attempts: int = _ATTEMPTS,
    ) -> None:
        self._url = f"{receiver_url.rstrip('/')}/v1/alerts/alertmanager"
        self._token = token
        self._firing = firing
        self._clock = clock or SystemClock()
        self._attempts = attempts

    def send(self, alert: OwnAlert) -> bool:
        """True when the receiver has stored it; False when there was nothing to resolve.

        Raises:
            Unavailable: the receiver does not answer, or cannot store now.
            InvalidInput: the receiver refuses the delivery (wrong token, wrong payload).
        """
        now = self._clock.now()
        began = self._firing.since(alert.fingerprint, now) if alert.firing else self._firing.peek(alert.fingerprint)
        if began is None:
            return False
        self._post(webhook(alert, starts_at=began, ends_at=None if alert.firing else now))
        if not alert.firing:
            self._firing.resolve(alert.fingerprint, began)
        return True

    def _post(self, document: dict[str, Any]) -> None:
        transport = httpx.HTTPTransport(retries=self._attempts)  # of connecting only
        with httpx.Client(transport=transport, timeout=_TIMEOUT_SECONDS) as client:
            for attempt in range(1, self._attempts + 1):
                try:
                    answer = client.post(self._url, json=document, headers={"Authorization": f"Bearer {self._token}"})
                except httpx.HTTPError as error:
                    if attempt == self._attempts:
                        raise Unavailable(
                            f"the alert receiver at {self._url} does not answer: {error}",
                            next_step="Run 'tidegate status'; the alert is sent again with the next drift check.",
                        ) from None
                    continue
                if answer.is_success:
                    return
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise InvalidInput(
                        f"the alert receiver at {self._url} refused the alert with {answer.status_code}: {answer.text}",
                        next_step="Check that TIDEGATE_RECEIVER_TOKEN_PATH is the receiver's own.",
                    )
        raise Unavailable(
            f"the alert receiver at {self._url} answered {answer.status_code}: {answer.text}",
            next_step="See the receiver's log; the alert is sent again with the next drift check.",
        )


def webhook(alert: OwnAlert, *, starts_at: datetime, ends_at: datetime | None) -> dict[str, Any]:
    """The v4 payload of one alert."""
    status = "firing" if ends_at is None else "resolved"
    labels, annotations = dict(alert.labels), dict(alert.annotations)
    name = labels.get("alertname", "")
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "tidegate",
        "groupLabels": {"alertname": name},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": starts_at.isoformat(),
                "endsAt": ZERO_TIME if ends_at is None else ends_at.isoformat(),
                "generatorURL": alert.generator_url,
                "fingerprint": alert.fingerprint,
            }
        ],
    }
