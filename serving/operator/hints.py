"""MLflow's webhooks as hints: a signed delivery lets the registry be asked at once, and decides nothing.

MLflow keeps its deliveries in memory and loses them when it restarts, so that polling goes on all the same; what a
delivery says is not even read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

SIGNATURE, TIMESTAMP, DELIVERY = "x-mlflow-signature", "x-mlflow-timestamp", "x-mlflow-delivery-id"
"""Headers, in lower case (mlflow.webhooks.constants)."""
FRESH_SECONDS = 300
"""How far the signed time may be off: an older delivery is a replay."""
MAX_BYTES = 1 << 20
_VERSION = "v1,"


def verified(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether MLflow signed this delivery lately: HMAC-SHA256 over `id.timestamp.body` (mlflow.webhooks.delivery).

    Args:
        secret: the webhook's secret, as it was given to MLflow.
        headers: with names in lower case.
        now: seconds since 1970.
    """
    timestamp, delivery = headers.get(TIMESTAMP, ""), headers.get(DELIVERY, "")
    try:
        if abs(now - int(timestamp)) > FRESH_SECONDS:
            return False
    except ValueError:
        return False
    signed = f"{delivery}.{timestamp}.".encode() + body
    made = _VERSION + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(made.encode(), headers.get(SIGNATURE, "").encode())
