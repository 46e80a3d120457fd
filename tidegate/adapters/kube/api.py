"""One namespace of a Kubernetes API server, as plain JSON objects: the same five verbs for every kind.

Every call has a time-out, and nothing is retried in here: whoever calls comes again, and decides anew when it does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import urllib3
from kubernetes import client, config

from tidegate.adapters.kube.kinds import ApiKind, Object
from tidegate.errors import Conflict, Denied, InvalidInput, TidegateError, Unavailable

_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_POOL = 32


class KubeApi:
    """Objects of one namespace.

    Args:
        api: a configured client.
        namespace: the only one that is looked at.
        seconds: how long to wait for a connection, and for an answer.
    """

    def __init__(self, api: client.ApiClient, namespace: str, seconds: float = 5.0) -> None:
        self._api = api
        self.namespace = namespace
        self._seconds = seconds

    @classmethod
    def connect(cls, namespace: str = "", *, seconds: float = 5.0) -> Self:
        """The API server of this pod, else the one of the kubeconfig (`KUBECONFIG`, ~/.kube/config).

        Args:
            namespace: unset: the pod's own, or the kubeconfig's.

        Raises:
            InvalidInput: neither a service account nor a usable kubeconfig is there.
        """
        made = client.Configuration()
        try:
            if NAMESPACE_FILE.exists():
                config.load_incluster_config(client_configuration=made)
                found = NAMESPACE_FILE.read_text(encoding="utf-8").strip()
            else:
                config.load_kube_config(client_configuration=made)
                _, active = config.list_kube_config_contexts()
                found = active["context"].get("namespace", "default")
        except (config.ConfigException, OSError) as error:
            raise InvalidInput(
                f"there is no way to a Kubernetes API server: {error}",
                next_step="Run inside a pod with a service account, or set KUBECONFIG.",
            ) from None
        return cls(_client(made), namespace or found, seconds)

    @classmethod
    def from_kubeconfig(cls, path: Path | str, namespace: str, *, context: str = "", seconds: float = 5.0) -> Self:
        """The API server of a kubeconfig's context; unset: the current one."""
        made = client.Configuration()
        config.load_kube_config(config_file=str(path), context=context or None, client_configuration=made)
        return cls(_client(made), namespace, seconds)

    def call_as(self, name: str) -> None:
        """The name that the API server puts beside every field that this process writes (`managedFields`)."""
        self._api.user_agent = f"{name}/1"

    # --- the verbs ---------------------------------------------------------------------------------------------------

    def get(self, kind: ApiKind, name: str) -> Object | None:
        """The object, or None when there is none."""
        return self._call("GET", kind.object_path(self.namespace, name), missing_is_none=True)

    def list(self, kind: ApiKind, *, labels: str = "") -> tuple[list[Object], str]:
        """All objects of a kind, and the resourceVersion from which a watch goes on."""
        query = {"labelSelector": labels} if labels else {}
        answer = self._must("GET", kind.path(self.namespace), query=query)
        return list(answer.get("items") or ()), str(answer["metadata"]["resourceVersion"])

    def create(self, kind: ApiKind, body: Object) -> Object:
        """Raises:
        Conflict: an object of that name exists.
        InvalidInput: the server refuses it.
        """
        return self._must("POST", kind.path(self.namespace), body={**_head(kind), **body})

    def replace(self, kind: ApiKind, body: Object, *, status: bool = False) -> Object:
        """Replaces the object, or only its status, if it still has the resourceVersion that `body` names.

        Raises:
            Conflict: somebody else wrote, or the object is gone.
        """
        path = kind.object_path(self.namespace, body["metadata"]["name"], "status" if status else "")
        return self._must("PUT", path, body={**_head(kind), **body})

    def patch(self, kind: ApiKind, name: str, change: Object) -> Object:
        """Merges a change (RFC 7386); with `metadata.resourceVersion` in it only onto that version."""
        return self._must("PATCH", kind.object_path(self.namespace, name), body=change, content_type=_MERGE_PATCH)

    def delete(self, kind: ApiKind, name: str, *, resource_version: str | None = None) -> None:
        """An object that is not there is no error."""
        body = {"preconditions": {"resourceVersion": resource_version}} if resource_version is not None else None
        self._call("DELETE", kind.object_path(self.namespace, name), body=body, missing_is_none=True)

    def watch(self, kind: ApiKind, since: str, *, seconds: int = 60) -> Iterator[tuple[str, Object]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object) from a resourceVersion on, for at most so long.

        Raises:
            Conflict: the version is too old; list again.
            Unavailable: the stream broke.
        """
        query = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        response = self._request("GET", kind.path(self.namespace), query, None, _JSON, stream=seconds + self._seconds)
        try:
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(int(event["object"].get("code", 500)), event["object"].get("message", ""), kind.kind)
                yield event["type"], event["object"]
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Unavailable(f"the watch of {kind.kind} broke: {error}", next_step="It is begun again.") from None
        finally:
            response.release_conn()

    def log(self, pod: str, container: str, *, lines: int = 2000) -> str | None:
        """The last lines of a container; None when there is no such pod or it has not begun."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        query = {"container": container, "tailLines": str(lines)}
        try:
            response = self._request("GET", path, query, None, "*/*")
            return bytes(response.data).decode("utf-8", "replace")
        except (_NotThereError, InvalidInput):
            return None
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the log of pod {pod} broke off: {error}", next_step="It is tried again.") from None

    # --- the calls ---------------------------------------------------------------------------------------------------

    def _must(self, method: str, path: str, **options: Any) -> Object:
        answer = self._call(method, path, **options)
        if answer is None:
            raise Unavailable(f"the API server gave no answer to {method} {path}", next_step="Try again.")
        return answer

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
        missing_is_none: bool = False,
    ) -> Object | None:
        try:
            response = self._patient(method, path, query or {}, body, content_type)
        except _NotThereError:
            if missing_is_none:
                return None
            raise NotThere(f"{path.rpartition('/')[2]} is gone", next_step="It was deleted meanwhile.") from None
        try:
            answer: Object = json.loads(response.data)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the answer to {path} broke off: {error}", next_step="It is tried again.") from None
        except ValueError:
            raise Unavailable(
                f"the API server answers {path} with no JSON: {response.data[:80]!r}",
                next_step="Something else may listen at its address.",
            ) from None
        return answer

    def _patient(self, method: str, path: str, query: Mapping[str, str], body: Object | None, content_type: str) -> Any:
        """A server that says 429 has done nothing yet; it is asked again, for a second."""
        for _ in range(_BUSY_TRIES - 1):
            try:
                return self._request(method, path, query, body, content_type)
            except _BusyError:
                time.sleep(_BUSY_SECONDS)
        return self._request(method, path, query, body, content_type)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        *,
        stream: float | None = None,
    ) -> Any:
        try:
            return self._api.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": _JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(self._seconds, stream if stream is not None else self._seconds),
            )
        except client.ApiException as error:
            if error.status == _NOT_FOUND:
                raise _NotThereError from None
            if error.status == _BUSY:
                raise _BusyError(path, _message(error.body)) from None
            if not error.status:  # not even a TLS connection
                raise Unavailable(
                    f"the Kubernetes API server at {self._api.configuration.host} cannot be talked to: {error.reason}",
                    next_step="Check the kubeconfig's server, certificate authority and client certificate.",
                ) from None
            raise _error(error.status, _message(error.body), path) from None
        except ValueError:  # its text holds the token
            raise InvalidInput(
                "the kubeconfig's token cannot be sent: it has characters that no header may have",
                next_step="Write it without line breaks and other control characters, or log in again.",
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            where = self._api.configuration.host
            raise Unavailable(
                f"the Kubernetes API server at {where} does not answer ({type(error).__name__})",
                next_step="Traffic stays where it is; it is tried again by itself.",
            ) from None


def _client(made: client.Configuration) -> client.ApiClient:
    renew = made.refresh_api_key_hook

    def read_token(configuration: client.Configuration) -> None:
        if renew is not None:
            renew(configuration)
        # A file ends with a line break, which no header may have.
        configuration.api_key = {name: str(value).strip() for name, value in configuration.api_key.items()}

    made.refresh_api_key_hook = read_token
    made.retries = False
    made.connection_pool_maxsize = _POOL
    return client.ApiClient(made)


class NotThere(Conflict):
    """404 where something must be: the object, its namespace or its kind."""


class _NotThereError(TidegateError):
    """404: the callers know whether that is an error."""

    def __init__(self) -> None:
        super().__init__("there is no such object")


class _BusyError(Unavailable):
    """429: too many requests, or a definition that has just been installed."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"the API server is too busy for {path}: {message}", next_step="It is tried again.")


_BUSY, _BUSY_TRIES, _BUSY_SECONDS = 429, 4, 0.3
_NOT_FOUND, _CONFLICT, _GONE, _INVALID, _BAD = 404, 409, 410, 422, 400
_UNKNOWN, _DENIED = 401, 403


def _head(kind: ApiKind) -> Object:
    return {"apiVersion": kind.version, "kind": kind.kind}


def _message(body: Any) -> str:
    """The message of a Status object; of anything else the beginning of its text."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def _error(status: int | None, message: str, what: str) -> TidegateError:
    if status in {_CONFLICT, _GONE}:
        return Conflict(message or f"{what} changed meanwhile", next_step="Read it again and decide anew.")
    if status == _UNKNOWN:
        return Denied(
            f"the API server does not know who asks for {what}: {message}",
            next_step="Renew the credentials; 'kubectl auth whoami' says whose they are.",
        )
    if status == _DENIED:
        return Denied(
            f"the API server refuses {what}: {message}",
            next_step="Give the service account the role that the chart has for it.",
        )
    if status in {_INVALID, _BAD}:
        return InvalidInput(f"the API server refuses {what}: {message}")
    return Unavailable(f"the API server answers {what} with {status}: {message}", next_step="Try again later.")


def _lines(response: Any) -> Iterator[str]:
    """Lines of a stream, over the borders of what arrives at a time."""
    rest = b""
    for part in response.stream(amt=None, decode_content=False):
        *whole, rest = (rest + part).split(b"\n")
        yield from (line.decode() for line in whole if line.strip())
