"""`python -m serving.gateway`: one gateway process; everything it needs to know is in `TIDEGATE_HOME`."""

from __future__ import annotations

import math
import signal
import socket
import sys
from types import FrameType

import uvicorn

from serving.gateway.app import build_app
from serving.gateway.assembly import assemble
from serving.gateway.online import open_online
from serving.gateway.parts import Parts
from tidegate import logging
from tidegate.errors import TidegateError
from tidegate.settings import load_settings
from tidegate.wire import KEEP_ALIVE_SECONDS

_LATE_SECONDS = 1
"""What is late has been told so before uvicorn cuts connections."""


def main() -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit status: 0 after a clean end."""
    try:
        settings = load_settings()
        logging.configure("gateway", settings.log_level)
        parts = assemble(settings, online=open_online(settings))
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    config = uvicorn.Config(
        build_app(parts),
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=math.ceil(parts.limits.drain_seconds) + _LATE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        lifespan="on",
    )
    server = Server(config, parts)
    server.run()
    return 0 if server.started else 1


class Server(uvicorn.Server):
    """Tells the requests in flight when the end begins."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._parts.drain.begin()
        await super().shutdown(sockets)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Ends the process before uvicorn serves, and after: it raises the signal again once all is flushed."""
    raise SystemExit(0)


if __name__ == "__main__":
    for handled in (signal.SIGTERM, signal.SIGINT):
        signal.signal(handled, _leave)
    sys.exit(main())
