"""A small client of MLflow's REST API 2.0: registry and logged models, without importing mlflow (which takes 4 s).

Endpoints and fields: https://mlflow.org/docs/latest/rest-api.html. Every call is retried while the server is down,
busy or locked, within a bounded time; then `Unavailable` says so.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx

from tidegate.certificates import unverified
from tidegate.errors import Conflict, Denied, InvalidInput, NotFound, TidegateError, Unavailable

_API = "/api/2.0/mlflow"
_PAGE = 200
# Texts of SQLAlchemy that MLflow passes on as a refusal (HTTP 400) when writers meet: SQLite's lock, and two inserts
# of one row (a tag, an alias), of which the second will find the first and update it.
_RACES = ("database is locked", "IntegrityError", "UniqueViolation")
_ANSWERS = frozenset({"RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"})
"""Codes that settle a question, whatever SQLAlchemy said underneath."""


class MlflowError(Exception):
    """MLflow's answer to a request that it understood and refused: `code` is its error_code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class _Again(Exception):
    """The server is down, busy or locked."""


class MlflowRest:
    """One server.

    Args:
        uri: 'http://127.0.0.1:5500'.
        patience: seconds over which a call is retried before `Unavailable`.
    """

    def __init__(
        self,
        uri: str,
        *,
        patience: float = 20.0,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uri = uri.rstrip("/")
        self._patience = patience
        self._sleep = sleep
        self._monotonic = monotonic
        # No connection is kept: a registry object is made for a few calls and has no end that would close it.
        # trust_env off: a proxy variable must not send loopback traffic elsewhere, nor read ~/.netrc. What certificates
        # to trust is read from the environment all the same.
        self._client = httpx.Client(
            base_url=self.uri + _API,
            timeout=timeout,
            transport=transport,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            verify=_trusted(),
            auth=_login(),
            follow_redirects=False,
        )

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """A read. Raises MlflowError for a refusal, Unavailable when the server does not answer in time."""
        return self.retrying(lambda: self.once("GET", path, params=params))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """A write whose repetition does no harm (tags, aliases)."""
        return self.retrying(lambda: self.once("POST", path, json=body))

    def send(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Like `post`, with another method."""
        return self.retrying(lambda: self.once(method, path, json=body))

    def pages(self, path: str, field: str, **params: Any) -> list[dict[str, Any]]:
        """All items of a paged read."""
        items: list[dict[str, Any]] = []
        token = None
        while True:
            page = self.get(path, max_results=_PAGE, **params, **({"page_token": token} if token else {}))
            items.extend(page.get(field, ()))
            token = page.get("next_page_token")
            if not token:
                return items

    def retrying(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Repeats a call that asks for it, with growing, jittered waits.

        Raises:
            Unavailable: it still asked for it when the patience was over.
        """
        deadline = self._monotonic() + self._patience
        wait = 0.1
        while True:
            try:
                return call()
            except _Again as reason:
                if self._monotonic() + wait > deadline:
                    raise Unavailable(
                        f"MLflow at {self.uri} did not answer within {self._patience:g} s: {reason}",
                        next_step="Run 'tidegate status', start it with 'tidegate up', then run the same again; "
                        "nothing was registered half-way.",
                    ) from None
            # Jitter, or writers that met once meet again at every retry. S311: nothing secret here.
            self._sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(wait * 2, 2.0)

    def once(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """One request, for use inside `retrying`."""
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            if untrusted := unverified(f"MLflow at {self.uri}", str(error), "SSL_CERT_FILE"):
                raise untrusted from None
            raise _Again(f"{type(error).__name__}: {error}") from None
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        code = str(body.get("error_code", "")) if isinstance(body, dict) else ""
        message = str(body.get("message", "")) if isinstance(body, dict) else ""
        raced = code not in _ANSWERS and any(text in message for text in _RACES)
        if raced or response.status_code in {429, 500, 502, 503, 504}:
            raise _Again(f"HTTP {response.status_code} {code} {message[:200]}".strip())
        if response.status_code in {401, 403}:
            raise Denied(
                f"MLflow at {self.uri} refuses these credentials (HTTP {response.status_code}): {method} {path}",
                next_step="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to "
                "those of a user who may; on a cluster in the Secret of mlflow.existingSecret, for pipelines in "
                "tidegate-pipelines.",
            )
        if not code:
            raise InvalidInput(
                f"{self.uri} answered HTTP {response.status_code} and not as an MLflow server does",
                next_step="Check the setting mlflow_uri.",
            )
        raise MlflowError(code, message)


class _Token(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _login() -> httpx.Auth | None:
    """By the variables that MLflow's own clients read, user and password before token as they do; None without.

    Raises:
        InvalidInput: the token cannot stand in a header; httpx would tell it in its error.
    """
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return httpx.BasicAuth(user, password)
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "").strip()  # files that Secrets are made of end with a line break
    if not token.isprintable():
        raise InvalidInput(
            "MLFLOW_TRACKING_TOKEN holds a line break or another control character",
            next_step="Set it to the token alone.",
        )
    return _Token(token) if token else None


def _trusted() -> ssl.SSLContext:
    """The certificates of `SSL_CERT_FILE`, else the public ones."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise Unavailable(
            f"the certificates that SSL_CERT_FILE names cannot be read: {error.strerror}",
            next_step="Put the authority's certificates there, or unset it.",
        ) from None


def as_tidegate_error(error: MlflowError, what: str) -> TidegateError:
    """A refusal that nobody foresaw, as an error for a user."""
    if error.code == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(f"{what} does not exist in MLflow: {error.message}")
    if error.code == "RESOURCE_ALREADY_EXISTS":
        return Conflict(f"{what} exists in MLflow already: {error.message}")
    return InvalidInput(f"MLflow refused {what}: {error.message}", next_step="Correct the value it names.")
