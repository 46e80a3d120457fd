"""`python -m monitoring.scoring`: the pair scorer as a process. SIGTERM ends it between two batches."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from types import FrameType

from monitoring.scoring.worker import LabelBook, ScoringWorker
from tidegate.adapters.routing_tables import routing_tables
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import TidegateError
from tidegate.logging import configure, get_logger
from tidegate.settings import Settings, load_settings

_log = get_logger("scorer")


def main() -> int:
    """Exit status: 0 after SIGTERM or SIGINT, else that of the error."""
    try:
        settings = load_settings()
        configure("scorer", settings.log_level)
        _score_until_told(settings)
    except TidegateError as error:
        _log.error("scorer cannot run", why=str(error))
        return error.exit_code
    return 0


def _score_until_told(settings: Settings) -> None:
    stop = threading.Event()

    def leave(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    heartbeat = settings.home / "heartbeats" / "scorer"
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    db = Database.open(settings.database_url)
    clock = SystemClock()
    worker = ScoringWorker(
        db,
        clock,
        holder=f"{socket.gethostname()}:{os.getpid()}",
        lease_seconds=settings.intervals.lease_ttl,
        label_horizon_seconds=settings.scoring.label_horizon_seconds,
        find_labels=LabelBook(routing_tables(settings, db, clock)),
    )
    _log.info("scorer runs")
    while not stop.is_set():
        busy = False
        try:
            busy = worker.tick() > 0
            heartbeat.touch()
        except TidegateError as error:  # the database is busy or away: pairs wait, none is lost
            _log.warning("round failed", why=str(error))
        if not busy:
            stop.wait(settings.intervals.scorer_tick)
    worker.release()
    db.close()
    _log.info("scorer has ended")


if __name__ == "__main__":
    sys.exit(main())
