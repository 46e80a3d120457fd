"""A real MLflow, with what the chart's own gets, tells a private address over HTTP that an alias has moved."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from serving.operator.hints import verified
from tests.integration.chart.charts import Helm, merged, pods
from tests.integration.chart.value_sets import BASE
from tests.mlflow_process import Server

pytestmark = pytest.mark.integration
SECRET = "between MLflow and the operator"
_FROM_THE_SECRET = {"encryption.key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}


class Hook(ThreadingHTTPServer):
    """Stands where the operator's Service does, and keeps what is delivered and signed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Delivery)
        self.delivered: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/mlflow"


class _Delivery(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        signed = verified(SECRET, headers, body, time.time())
        if signed:
            self.server.delivered.append(body)
        self.send_response(202 if signed else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def mlflow(helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """Two processes, as the chart has them: one makes the webhook, the other may have to deliver."""
    values = merged(BASE, {"mlflow": {"webhookSecret": "mlflow-webhook"}})
    (container,) = dict(pods(helm.render(values)))["Deployment/tidegate-mlflow"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"].startswith("MLFLOW_WEBHOOK_"):
            source = variable.get("valueFrom", {}).get("secretKeyRef", {})
            assert source.get("name", "mlflow-webhook") == "mlflow-webhook"
            monkeypatch.setenv(variable["name"], variable.get("value") or _FROM_THE_SECRET[source["key"]])
    server = Server(tmp_path, workers=2)
    server.start()
    yield MlflowClient(server.uri, server.uri)
    server.stop()


def test_a_moved_alias_is_delivered_and_signed(mlflow: MlflowClient, hook: Hook) -> None:
    mlflow.create_webhook("tidegate", hook.url, ["model_version_alias.created"], secret=SECRET)
    mlflow.create_registered_model("banking-intent")
    mlflow.create_model_version("banking-intent", "s3://models/a")
    for number in range(4):  # whichever process is asked
        mlflow.set_registered_model_alias("banking-intent", f"alias-{number}", "1")
    deadline = time.monotonic() + 60
    while len(hook.delivered) < 4:
        assert time.monotonic() < deadline, hook.delivered
        time.sleep(0.1)
    assert all(b"banking-intent" in body for body in hook.delivered)
