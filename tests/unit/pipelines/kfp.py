"""What the tests of Kubeflow Pipelines share: how it fails, and what the receiver asks of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from tests.kfp_api import Refused
from tidegate.domain.drift import RetrainRequest

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
DATABASE_AWAY: Final = Refused(500, "Failed to get a run: InternalServerError: Failed to get run: invalid connection")
SERVER_AWAY: Final = Refused(404, "default backend - 404", page=True)


def retrain_request(**more: Any) -> RetrainRequest:
    """A request of drift, as the receiver keeps it."""
    given = {
        "key": "retrain-1",
        "model": "m",
        "deployment": "d",
        "reason": "drift",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return RetrainRequest.model_validate(given | more)
