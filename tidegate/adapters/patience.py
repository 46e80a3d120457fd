"""Waiting for a store that is away: minutes of an outage must not cost hours of work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from tidegate.adapters.job_folder import is_transient
from tidegate.errors import TidegateError

T = TypeVar("T")
AWAY_SECONDS: Final = 300.0
"""How long steps and jobs wait for the artifact store."""
PAUSE_SECONDS: Final = 5.0


def insist(act: Callable[[], T], *, seconds: float = AWAY_SECONDS) -> T:
    """What `act` returns. While it fails for a moment's reason (an outage, no room), it is tried again.

    Raises:
        TidegateError: it failed for good, or for longer than `seconds`.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except TidegateError as error:
            if not is_transient(error) or time.monotonic() > until:
                raise
        time.sleep(PAUSE_SECONDS)
