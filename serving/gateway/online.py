"""Opens the online feature store ahead of the first request: Feast takes seconds to import."""

from __future__ import annotations

import threading

from tidegate.adapters.feast_store import FeastOnline
from tidegate.errors import TidegateError
from tidegate.logging import get_logger
from tidegate.settings import Settings

_log = get_logger(__name__)
_RETRY_SECONDS = 1.0


def open_online(settings: Settings) -> FeastOnline:
    """The online store of the settings, warming up in the background.

    The repository may not exist yet: the first run of the pipeline makes it, long before there is a version to serve.
    """
    online = FeastOnline(settings.feast_repo)
    threading.Thread(target=_warm, args=(online,), name="warm-features", daemon=True).start()
    return online


def _warm(online: FeastOnline) -> None:
    pause = threading.Event()
    told = False
    while True:
        try:
            online.warm()
        except (TidegateError, OSError) as error:
            if not told:
                _log.info("feature store not there yet", problem=str(error))
            told = True
            pause.wait(_RETRY_SECONDS)
        else:
            _log.info("feature store ready")
            return
