"""`python -m serving.operator`: the operator. kopf watches; a thread of its own judges; a port shows both.

Handlers only remember what they saw. Nothing is decided in them, and kopf writes nothing: all writes are the
controller's, under its lease.
"""

from __future__ import annotations

import logging as stdlib_logging
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import kopf

from serving.operator.assembly import Operator, assemble
from serving.operator.objects import WATCHED
from serving.operator.web import serve
from tidegate import logging
from tidegate.errors import TidegateError
from tidegate.settings import load_settings

_log = logging.get_logger(__name__)
_WATCH_SECONDS = 300
_RETRY_SECONDS = (1, 1, 2, 3, *(5,) * 1000)
"""After an outage the watches are back within seconds. When these were used up while the API server answers with
errors, as it does while it starts, kopf would end."""
_BEGIN_AGAIN_SECONDS = 2.0
_STOP_SECONDS = 10.0


def main() -> int:
    """Operates until SIGTERM or SIGINT. Returns the exit status: 0 after a clean end."""
    try:
        settings = load_settings()
        logging.configure("operator", settings.log_level)
        stdlib_logging.getLogger("kopf").setLevel("WARNING")  # a line for every object seen is no news
        operator = assemble(settings)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    cluster = settings.cluster
    web = serve(operator, cluster.metrics_host, cluster.metrics_port, cluster.webhook_secret_path)
    stop = threading.Event()
    judge = threading.Thread(target=operator.controller.run, args=(stop,), name="controller", daemon=True)
    judge.start()
    try:
        watch(operator)
    finally:
        stop.set()
        judge.join(_STOP_SECONDS)
        web.shutdown()
    return 0


def watch(operator: Operator) -> None:
    """Until this process is told to end. kopf gives up on errors that pass, too: it is begun again, and judging goes
    on meanwhile by the lists that the household makes."""
    said = ""
    while True:
        signal.signal(signal.SIGTERM, _leave)  # kopf takes it over, and sets the system's own when it ends
        try:
            operator.objects.refresh()  # kopf looks only once at what kinds there are
            kopf.run(registry=handlers(operator), standalone=True, namespaces=[operator.objects.api.namespace])
            return
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            if problem != said:
                _log.error("nothing is watched; it is tried again", problem=problem)
            said = problem
            time.sleep(_BEGIN_AGAIN_SECONDS)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def handlers(operator: Operator) -> kopf.OperatorRegistry:
    """What kopf is told to watch, and that it keeps its hands off."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def settle(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False  # Events are the announcer's
        settings.scanning.disabled = True
        settings.watching.server_timeout = _WATCH_SECONDS
        settings.networking.error_backoffs = _RETRY_SECONDS

    kopf.on.login(registry=registry)(kopf.login_via_client)

    for kind in WATCHED:
        group, _, version = kind.version.rpartition("/")

        async def seen(event: Any, name: str = kind.kind, **_: Any) -> None:
            operator.objects.seen(name, event["type"], dict(event["object"]))

        kopf.on.event(group, version, kind.plural, registry=registry, id=kind.plural)(seen)
    return registry


if __name__ == "__main__":
    sys.exit(main())
