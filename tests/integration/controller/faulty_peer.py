"""MLflow's registry, Ray Serve's API and an engine's replica in one small server, which misbehaves when it is told to.

How a faulty peer answers is what is under test where this stands in for the real ones; those are used by
tests/integration/registry, tests/integration/engines and the end-to-end test.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from tests.integration.controller.fakes import FileRegistry
from tidegate.adapters.mlflow_registry import READY_TAG, VERSION_PATH

Part = Literal["mlflow", "ray", "replica"]
Mood = Literal["HTTP 500", "timeout", "HTML", "empty body", "cut off", "another shape"]
_MLFLOW = "/api/2.0/mlflow"
_REPLICA = "replica-1"
_BODIES: dict[str, tuple[int, str, bytes]] = {
    "HTTP 500": (500, "text/plain", b"Internal Server Error"),
    "HTML": (200, "text/html", b"<!doctype html><title>Sign in</title>"),
    "empty body": (200, "application/json", b""),
    "another shape": (200, "application/json", b'["of", "another", "service"]'),
}


class FaultyPeer:
    """Serves what the registry's file holds; `moods` says which part misbehaves, and how."""

    def __init__(self, home: Path) -> None:
        self.registry = FileRegistry(home / "registry.json")
        self.documents = home / "documents"
        self.moods: dict[Part, Mood] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"peer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultyPeer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    # --- sound answers ------------------------------------------------------------------------------------------------

    def mlflow(self, path: str, asked: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        versions = {made.version: made for made in self.registry.versions("")}
        if path == "/model-versions/search":
            return 200, {"model_versions": [self._row(number) for number in versions]}
        number = asked.get("version")
        if path == "/registered-models/alias" and number is not None:
            self.registry.set_alias("", asked["alias"], number)
            return 200, {}
        if path == "/registered-models/alias":
            found = self.registry.by_alias("", asked["alias"])
            number = found.version if found is not None else None
        if number not in versions:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{path} {dict(asked)}"}
        return 200, {"model_version": self._row(number)}

    def _row(self, number: str) -> dict[str, Any]:
        document = self.documents / number / VERSION_PATH
        if not document.exists():
            document.parent.mkdir(parents=True, exist_ok=True)
            document.write_text(self.registry.get("", number).model_dump_json())
        source = str(self.documents / number)
        return {"version": number, "source": source, "tags": [{"key": READY_TAG, "value": "true"}]}

    def serve_details(self) -> dict[str, Any]:
        replica = {"replica_id": _REPLICA, "state": "RUNNING"}
        return {
            "applications": {
                name: {
                    "deployed_app_config": config,
                    "status": "RUNNING",
                    "message": "",
                    "deployments": {"engine": {"target_num_replicas": 1, "message": "", "replicas": [replica]}},
                }
                for name, config in self.applications.items()
            }
        }

    def replica(self, path: str) -> dict[str, Any]:
        config = next(c for c in self.applications.values() if path.startswith(c["route_prefix"]))
        held = [a for d in config["deployments"] for a in (d.get("user_config") or {}).get("adapters", ())]
        adapters = [{"id": a["id"], "digest": a["digest"], "state": "ready", "message": ""} for a in held]
        return {"replica": _REPLICA, "failure": "", "adapters": adapters}


class _Handler(BaseHTTPRequestHandler):
    peer: ClassVar[FaultyPeer]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.startswith(_MLFLOW):
            self._answer("mlflow", *self.peer.mlflow(url.path.removeprefix(_MLFLOW), asked))
        elif url.path.startswith("/api/serve"):
            self._answer("ray", 200, self.peer.serve_details())
        else:
            self._answer("replica", 200, self.peer.replica(url.path))

    def do_POST(self) -> None:
        body = self._body()
        sound = "mlflow" not in self.peer.moods
        self._answer("mlflow", *(self.peer.mlflow(self.path.removeprefix(_MLFLOW), body) if sound else (200, {})))

    def do_PUT(self) -> None:
        body = self._body()
        if "ray" not in self.peer.moods:
            self.peer.applications = {application["name"]: application for application in body["applications"]}
        self._answer("ray", 200, {})

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        return found

    def _answer(self, part: Part, status: int, body: dict[str, Any]) -> None:
        content, kind, mood = json.dumps(body).encode(), "application/json", self.peer.moods.get(part)
        length = len(content)
        if mood == "timeout":
            self.peer.over.wait(5)
            self.close_connection = True
            return
        if mood == "cut off":
            content = content[: length // 2]
        elif mood is not None:
            status, kind, content = _BODIES[mood]
            length = len(content)
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(length))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: what a controller makes of an answer is on its own log."""
