"""Opens the online feature store ahead of the first request: Feast takes seconds to import."""

from __future__ import annotations

import threading

from tidegate.adapters.feast_site import site_of
from tidegate.adapters.feast_store import FeastOnline
from tidegate.errors import TidegateError
from tidegate.logging import get_logger
from tidegate.settings import Settings

_log = get_logger(__name__)
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 15.0


def open_online(settings: Settings) -> FeastOnline:
    """The online store of the settings, warming up in the background.

    The store may not exist yet: the first run of the pipeline makes it, long before there is a version to serve. A
    gateway whose store is away, or misconfigured, serves all the same and says why its features are unknown.
    """
    site = site_of(settings)
    online = FeastOnline(site)
    threading.Thread(target=_warm, args=(online, site.where), name="warm-features", daemon=True).start()
    return online


def _warm(online: FeastOnline, where: str) -> None:
    pause = threading.Event()
    told, seconds = "", _RETRY_SECONDS
    while True:
        try:
            views = online.warm()
        except Exception as error:  # whatever the store's client raises; requests meet and count it
            problem = str(error) if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}"
            if problem != told:
                _log.warning("feature store not there yet", problem=problem)
            told = problem
            pause.wait(seconds)
            seconds = min(2 * seconds, _LONGEST_RETRY_SECONDS)
        else:
            _log.info("feature store ready", where=where, views=list(views))
            return
