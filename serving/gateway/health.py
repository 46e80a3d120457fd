"""`/healthz`: the process lives. `/readyz`: it can serve, and what is degraded. `/metrics`: Prometheus."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.gateway.metrics import CONTENT_TYPE
from serving.gateway.parts import Parts

_ENGINE_SECONDS = 1.0
_BUSY_SECONDS = 15.0
"""An engine that is silent to a probe, but answered somebody so lately, is busy. Were it told as away, every gateway
would leave its Service at the same moment: the busiest one."""
_REMEMBER_SECONDS = 1.0  # probes of many load balancers must not become load on the engines


class Health:
    """Answers probes.

    Ready means: it can serve somebody, so of one deployment at least the stable version's engine answers. Another
    engine that does not (a candidate's, another team's) degrades, and so does what only delays bookkeeping: with a
    probe that looks at more, one broken canary would take all gateways out of their Service. Where nothing is deployed
    a gateway that knows it is ready, too: whoever asks is told that there is no such model, and an installation can be
    waited for.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._engines: tuple[float, dict[str, bool]] | None = None
        self._lock = asyncio.Lock()

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        ready, body = await self._readiness()
        return JSONResponse(body, status_code=200 if ready else 503)

    async def metrics(self, _: Request) -> Response:
        """Readiness is looked at now, too: whoever scrapes need not probe."""
        await self._readiness()
        return Response(self._parts.metrics.render(), media_type=CONTENT_TYPE)

    async def _readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether this gateway is ready, and what it says of itself."""
        parts = self._parts
        tables = parts.watch.tables
        engines = await self._reachable()
        stores = {"routing": parts.watch.problem} | {writer.name: writer.problem for writer in parts.writers}
        stores["features"] = parts.features.problem
        stable = (table.arm("stable") for table in tables.values())
        serving = any(engines.get(arm.target, False) for arm in stable if arm is not None)
        idle = parts.watch.informed and not tables
        ready = (serving or idle) and not parts.drain.begun
        degraded = any(problem is not None for problem in stores.values()) or not all(engines.values())
        state = ("degraded" if degraded else "ready") if ready else "unready"
        body = {
            "status": state,
            "draining": parts.drain.begun,
            "epochs": {table.deployment: table.epoch for table in tables.values()},
            "engines": engines,
            "stores": stores,
        }
        parts.metrics.ready.set(float(ready))
        return ready, body

    async def _reachable(self) -> dict[str, bool]:
        async with self._lock:
            targets = sorted({arm.target for table in self._parts.watch.tables.values() for arm in table.arms})
            now = self._parts.clock.monotonic()
            if self._engines is not None and now < self._engines[0] and sorted(self._engines[1]) == targets:
                return self._engines[1]
            found = await asyncio.gather(*(self._answers(target) for target in targets))
            engines = dict(zip(targets, found, strict=True))
            self._engines = (now + _REMEMBER_SECONDS, engines)
            return engines

    async def _answers(self, target: str) -> bool:
        engine = self._parts.engine
        said = await engine.probe(target, _ENGINE_SECONDS)
        return said == "answers" or (said == "silent" and engine.silence(target) < _BUSY_SECONDS)
