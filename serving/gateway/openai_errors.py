"""Errors as the OpenAI API writes them: `{"error": {"message", "type", "param", "code"}}` with a fitting status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

RETRY_AFTER_SECONDS = 1


class ApiError(Exception):
    """A refusal or failure that is told to the client.

    Args:
        status: HTTP status.
        message: names the thing, its value and the next step.
        type: class of error: `invalid_request_error`, `authentication_error`, `permission_error`, `server_error`.
        param: path of the request field that is wrong (`messages[0].content`), if it is one field.
        code: a stable machine-readable name.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - the field's name in the API
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


def bad_request(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> ApiError:
    return ApiError(status, message, param=param, code=code)


def unsupported(param: str, why: str) -> ApiError:
    return bad_request(f"Unsupported parameter: '{param}' {why}", param=param, code="unsupported_parameter")


def model_not_found(model: str, known: list[str]) -> ApiError:
    names = ", ".join(known) or "none yet; apply a ModelDeployment first"
    message = f"The model {model[:100]!r} does not exist or you do not have access to it. Models served here: {names}."
    return ApiError(404, message, param="model", code="model_not_found")


def overloaded(limit: int) -> ApiError:
    return ApiError(
        503,
        f"The gateway already has {limit} requests in flight. Try again shortly.",
        type="server_error",
        code="overloaded",
        headers={"retry-after": str(RETRY_AFTER_SECONDS)},
    )


def unavailable(message: str, *, code: str = "engine_unavailable") -> ApiError:
    return ApiError(503, message, type="server_error", code=code, headers={"retry-after": str(RETRY_AFTER_SECONDS)})


async def on_api_error(_: Request, error: Exception) -> JSONResponse:
    return error.response() if isinstance(error, ApiError) else await on_unexpected(_, error)


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own refusals (unknown path, wrong method) in the API's form."""
    if not isinstance(error, HTTPException):
        return await on_unexpected(request, error)
    path, method = request.url.path[:200], request.method
    if error.status_code == 404:
        return ApiError(
            404, f"Unknown request URL: {method} {path}. See docs/gateway.md.", code="unknown_url"
        ).response()
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        message = f"Not allowed to {method} on {path}. Allowed: {allow or 'see docs/gateway.md'}."
        return ApiError(405, message, code="method_not_allowed", headers=error.headers).response()
    return ApiError(error.status_code, str(error.detail), headers=error.headers).response()


async def on_unexpected(_: Request, __: Exception) -> JSONResponse:
    """A bug of ours: the client gets an error object and no details; the log has the traceback."""
    return ApiError(
        500,
        "The gateway met an unexpected error. Try again; if it stays, report the x-request-id of this answer.",
        type="server_error",
        code="internal_error",
    ).response()
