"""`/v1/models`: the logical models that applications may call."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.gateway.auth import authorize
from serving.gateway.openai_errors import model_not_found
from serving.gateway.parts import Parts
from tidegate.domain.routing import RoutingTable


class ModelsApi:
    """Lists logical names, not versions: which version answers is the rollout's business."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list(self, request: Request) -> Response:
        authorize(self._parts.authenticate, request.headers.get("authorization"), "invoke")
        tables = self._parts.watch.tables
        return JSONResponse({"object": "list", "data": [_model(tables[name]) for name in sorted(tables)]})

    async def get(self, request: Request) -> Response:
        authorize(self._parts.authenticate, request.headers.get("authorization"), "invoke")
        name = request.path_params["model"]
        table = self._parts.watch.find(name)
        if table is None:
            raise model_not_found(name, sorted(self._parts.watch.tables))
        return JSONResponse(_model(table))


def _model(table: RoutingTable) -> dict[str, Any]:
    return {
        "id": table.model,
        "object": "model",
        "created": int(table.updated_at.timestamp()),
        "owned_by": "tidegate",
    }
