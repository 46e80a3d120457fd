"""A stand-in for the API of Kubeflow Pipelines 2.14, over real HTTP: versions, runs, schedules, and who may ask.

It answers as the real one was seen to answer; what is relied on is said by `tests/kfp_contract.py`, which the real
backend has to pass, too (tests/cluster/kfp). It runs nothing: a test says how a run goes.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, *, page: bool = False, field: str = "message") -> None:
        super().__init__(message)
        self.status = status
        self.page = page  # of whatever stands before the API
        self.field = field


class KfpStandIn:
    """Use as a context manager.

    Args:
        headers: what every request must carry, else 401.
        multi_user: requests must name the namespace `team`, else 403.
        certificate: folder of `tests.kube_certs.write_certificates`; https then.
    """

    def __init__(
        self, *, headers: Mapping[str, str] | None = None, multi_user: bool = False, certificate: Path | None = None
    ) -> None:
        self.headers = dict(headers or {})
        self.multi_user = multi_user
        self.may_read_only = False
        self.pipelines: dict[str, Json] = {}
        self.versions: dict[str, Json] = {}
        self.runs: dict[str, Json] = {}
        self.schedules: dict[str, Json] = {}
        self.experiments: dict[str, Json] = {}
        self.logs: dict[str, str] = {}
        self.tries: dict[tuple[str, str], list[str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.away: dict[str, Refused] = {}  # what is refused, by a pattern of paths
        self.loses = ""  # of requests that fit this pattern it does what they say, and the answer is lost on its way
        self.instead: str | bytes | None = None  # what something before the API answers, with status 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="kfp", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def end(self, run: str, state: str, *, step: str = "prepare", log: str = "", told: str = "") -> None:
        """A run of one step comes to this state, by one more try of the step, whose pod wrote this.

        Args:
            told: in which state the tasks are told, when that is another one: the real one writes them a moment later.
        """
        node, now = f"wf-{run[:5]}-{len(self.logs) + 100}", _now()
        tries = self.tries.setdefault((run, step), [])
        tries.append(node)
        self.logs[f"{node.rpartition('-')[0]}-system-container-impl-{node.rpartition('-')[2]}"] = log
        names = {step: tries, f"{step}-driver": [f"{node}1"], "root-driver": [f"{node}2"], "root": [f"{node}3"]}
        self.runs[run]["run_details"] = {
            "task_details": [
                {
                    "task_id": str(uuid.uuid4()),
                    "display_name": name,
                    "state": told or state,
                    "start_time": now,
                    "end_time": now,
                    "child_tasks": [{"pod_name": pod} for pod in pods],
                }
                for name, pods in names.items()
            ]
        }
        self.runs[run] |= {"state": state, "finished_at": now}
        self.runs[run]["state_history"].append({"update_time": now, "state": state})

    def tell(self, run: str, state: str) -> None:
        """Its tasks are told now."""
        for task in self.runs[run]["run_details"]["task_details"]:
            task["state"] = state

    # --- what it answers ---------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Any:
        self.asked.append((method, path))
        if self.instead is not None:
            return self.instead
        if (
            refusal := next((error for pattern, error in self.away.items() if re.search(pattern, path)), None)
        ) is not None:
            raise refusal
        for name, value in self.headers.items():
            if headers.get(name.lower()) != value:
                raise Refused(401, "Request header error: there is no user identity header.")
        path = path.removeprefix("/apis/v2beta1/")
        if path == "healthz":
            return {"multi_user": self.multi_user}
        data = json.loads(body) if body.startswith(b"{") else {}
        if self.multi_user and "team" not in (query.get("namespace"), data.get("namespace")) and method == "GET":
            raise Refused(403, "User 'anna' is not authorized with reason: no access to the namespace")
        for pattern, handle in _ROUTES:
            if (found := re.fullmatch(pattern, f"{method} {path}")) is not None:
                made = handle(self, query, data or body, *found.groups())
                if self.loses and re.fullmatch(self.loses, f"{method} {path}"):
                    raise Refused(504, "upstream request timeout", page=True)
                return made
        raise Refused(404, f"Not Found: {method} {path}")

    def _list(self, kept: Mapping[str, Json], field: str, query: Mapping[str, str]) -> Json:
        items = sorted(kept.values(), key=lambda item: item["_order"], reverse=True)
        if query.get("filter"):
            wanted = json.loads(query["filter"])["predicates"][0]["stringValue"]
            items = [item for item in items if item["display_name"] == wanted]
        start, size = int(query.get("page_token") or 0), int(query.get("page_size") or len(items))
        more = {"next_page_token": str(start + size)} if start + size < len(items) else {}
        return {field: items[start : start + size], "total_size": len(items), **more}

    def _create_pipeline(self, _query: Any, data: Any) -> Json:
        if any(item["display_name"] == data["display_name"] for item in self.pipelines.values()):
            raise Refused(409, f"Failed to create a new pipeline. The name {data['display_name']} already exist.")
        return _keep(self.pipelines, "pipeline_id", data)

    def _upload(self, query: Mapping[str, str], body: Any) -> Json:
        if self.may_read_only:
            raise Refused(
                400,
                "Failed to create a pipeline version due to authorization error: Authorization Failure: "
                "PermissionDenied: User 'anna' is not authorized with reason: : Unauthorized access",
                field="error_message",
            )
        pipeline = self._found(self.pipelines, query["pipelineid"], "Pipeline")["pipeline_id"]
        mine = [item for item in self.versions.values() if item["pipeline_id"] == pipeline]
        if any(item["display_name"] == query["name"] for item in mine):
            raise Refused(409, f"Failed to create a new pipeline version. The name {query['name']} already exist.")
        parts = list(yaml.safe_load_all(body))
        spec = {"pipeline_spec": parts[0], "platform_spec": parts[1]} if len(parts) == 2 else parts[0]
        data = {"pipeline_id": pipeline, "display_name": query["name"], "pipeline_spec": spec}
        return _keep(self.versions, "pipeline_version_id", data)

    def _create_run(self, _query: Any, data: Any) -> Json:
        self._version_of(data)
        state = {"state": "PENDING", "state_history": [{"update_time": _now(), "state": "PENDING"}]}
        return _keep(self.runs, "run_id", {**data, **state})

    def _create_schedule(self, _query: Any, data: Any) -> Json:
        self._version_of(data)
        return _keep(self.schedules, "recurring_run_id", {**data, "status": f"{data['mode']}D"})

    def _version_of(self, data: Json) -> None:
        version = data["pipeline_version_reference"]["pipeline_version_id"]
        if version not in self.versions:
            missing = f"ResourceNotFoundError: PipelineVersion {version} not found"
            raise Refused(500, f"Failed to create a run due to error fetching manifest: {missing}")

    def _switch(self, schedule: str, status: str) -> Json:
        self._found(self.schedules, schedule, "RecurringRun")["status"] = status
        return {}

    def _terminate(self, run: str) -> Json:
        found = self._found(self.runs, run, "Run")
        # As 2.14: it was CANCELING for a moment, and the record does not say so.
        found["state_history"].append({"update_time": _now(), "state": "FAILED"})
        found |= {"state": "FAILED", "finished_at": _now(), "_stopped": True}
        found.setdefault("run_details", {"task_details": [{"display_name": "root"}]})
        self.tell(run, "FAILED")
        return {}

    def _workflow(self, run: str) -> Json:
        found = self._found(self.runs, run, "Run")
        spec = {"activeDeadlineSeconds": 0} if found.get("_stopped") else {}
        return {"run": {"id": run}, "pipeline_runtime": {"workflow_manifest": json.dumps({"spec": spec})}}

    def _log(self, pod: str) -> str:
        if pod not in self.logs:
            # It has said 200 before it looks, and what is wrong is what the log would have been.
            return json.dumps(
                {"error_message": f"Failed to read logs: pods {pod!r} not found", "error_details": "…"},
                separators=(",", ":"),
            )
        return self.logs[pod]

    @staticmethod
    def _found(kept: dict[str, Json], key: str, kind: str) -> Json:
        if key not in kept:
            raise Refused(404, f"ResourceNotFoundError: {kind} {key} not found")
        return kept[key]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                kind = self.headers.get("content-type", "")
                if kind.startswith("multipart/"):
                    parts: Any = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
                    body = parts.get_payload()[0].get_payload(decode=True)
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    status, found = 200, api.answer(self.command, url.path, query, headers, body)
                except Refused as error:
                    status = error.status
                    found = str(error) if error.page else {"code": 5, error.field: str(error)}
                text = found if isinstance(found, str | bytes) else json.dumps(found)
                content = text if isinstance(text, bytes) else text.encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that the server looks for

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler


_ID = r"([^/:]+)"
_ROUTES: list[tuple[str, Any]] = [
    ("GET pipelines", lambda api, query, _: api._list(api.pipelines, "pipelines", query)),
    ("POST pipelines", lambda api, query, data: api._create_pipeline(query, data)),
    ("POST pipelines/upload_version", lambda api, query, body: api._upload(query, body)),
    (
        f"GET pipelines/{_ID}/versions",
        lambda api, query, _, key: api._list(
            {name: item for name, item in api.versions.items() if item["pipeline_id"] == key},
            "pipeline_versions",
            query,
        ),
    ),
    (f"GET pipelines/{_ID}/versions/{_ID}", lambda api, _q, _d, _p, key: api._found(api.versions, key, "Version")),
    ("GET experiments", lambda api, query, _: api._list(api.experiments, "experiments", query)),
    ("POST experiments", lambda api, _q, data: _keep(api.experiments, "experiment_id", data)),
    ("GET runs", lambda api, query, _: api._list(api.runs, "runs", query)),
    ("POST runs", lambda api, query, data: api._create_run(query, data)),
    (f"GET runs/{_ID}", lambda api, _q, _d, key: api._found(api.runs, key, "Run")),
    (f"POST runs/{_ID}:terminate", lambda api, _q, _d, key: api._terminate(key)),
    ("GET recurringruns", lambda api, query, _: api._list(api.schedules, "recurringRuns", query)),
    ("POST recurringruns", lambda api, query, data: api._create_schedule(query, data)),
    (f"DELETE recurringruns/{_ID}", lambda api, _q, _d, key: api.schedules.pop(key) and {}),
    (f"POST recurringruns/{_ID}:enable", lambda api, _q, _d, key: api._switch(key, "ENABLED")),
    (f"POST recurringruns/{_ID}:disable", lambda api, _q, _d, key: api._switch(key, "DISABLED")),
    (f"GET /apis/v1beta1/runs/{_ID}", lambda api, _q, _d, key: api._workflow(key)),
    (f"GET /apis/v1alpha1/runs/{_ID}/nodes/{_ID}/log", lambda api, _q, _d, _run, pod: api._log(pod)),
]


def _keep(kept: dict[str, Json], key: str, data: Json) -> Json:
    item = {**data, key: str(uuid.uuid4()), "created_at": _now(), "_order": len(kept)}
    kept[item[key]] = item
    return item


def _now() -> str:
    return datetime.now(UTC).isoformat()
