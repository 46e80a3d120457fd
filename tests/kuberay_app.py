"""A Ray Serve application that answers with its configuration and its replica: for the contract with KubeRay."""

from __future__ import annotations

import os
from typing import Any

from ray import serve
from starlette.requests import Request


@serve.deployment(name="echo")
class Echo:
    """Counts how often it was configured; a new process would begin again."""

    def __init__(self) -> None:
        self._config: dict[str, Any] = {}
        self._configured = 0

    def reconfigure(self, config: dict[str, Any]) -> None:
        self._config, self._configured = config, self._configured + 1

    async def __call__(self, _: Request) -> dict[str, Any]:
        return {"config": self._config, "configured": self._configured, "pid": os.getpid()}


def build(_: dict[str, Any]) -> serve.Application:
    bound: serve.Application = Echo.bind()  # type: ignore[attr-defined]
    return bound
