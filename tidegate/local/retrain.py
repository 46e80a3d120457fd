"""A retraining request as the command line finds it."""

from __future__ import annotations

from tidegate.adapters.retrain_runs import retrain_arguments, run_name
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import NotFound
from tidegate.settings import Settings
from tidegate.store.retraining import RetrainStore

__all__ = ["find_request", "retrain_arguments", "run_name"]


def find_request(settings: Settings, key: str) -> RetrainRequest:
    """The request of this key.

    Raises:
        NotFound: there is none.
    """
    request = RetrainStore(Database.open(settings.database_url), SystemClock()).get(key)
    if request is None:
        raise NotFound(f"retraining request {key!r} does not exist", next_step="See `tidegate alerts retrainings`.")
    return request
