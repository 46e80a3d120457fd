"""Alerts as Alertmanager sends them, to the receiver of an installation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from tests.cluster.installation import Installation
from tests.cluster.node import Json


@dataclass(frozen=True)
class Receiver:
    """Where alerts go, and the token that it asks for: looked up before something is taken away."""

    url: str
    token: str

    @classmethod
    def of(cls, platform: Installation) -> Receiver:
        return cls(f"{platform.url('receiver')}/v1/alerts/alertmanager", platform.receiver_token())


def post(platform: Installation, name: str, description: str = "", receiver: Receiver | None = None) -> httpx.Response:
    """A delivery of one firing alert of that name; a name is always the same alert."""
    to = receiver or Receiver.of(platform)
    labels = {"alertname": name, "model": "nobody"}
    alert: Json = {
        "status": "firing",
        "labels": labels,
        "annotations": {"description": description},
        "startsAt": datetime(2026, 3, 1, tzinfo=UTC).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": name,
    }
    body = {"version": "4", "status": "firing", "receiver": "tidegate", "groupLabels": {}, "commonLabels": labels,
            "commonAnnotations": {}, "externalURL": "", "groupKey": name, "alerts": [alert]}  # fmt: skip
    headers = {"authorization": f"Bearer {to.token}"}
    return httpx.post(to.url, json=body, headers=headers, trust_env=False, timeout=30)
