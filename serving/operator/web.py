"""`/metrics` for Prometheus, `/healthz` for the kubelet, `/readyz` for both (a standby is ready, too), and
`/hooks/mlflow` for MLflow's webhooks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST

from serving.operator.assembly import Operator
from serving.operator.hints import MAX_BYTES, verified
from tidegate.adapters.kube.kinds import OWN

_READ_SECONDS = 10.0
_DEPLOYMENT = OWN["ModelDeployment"]


def serve(operator: Operator, host: str, port: int, webhook_secret: Path | None = None) -> ThreadingHTTPServer:
    """Serves in the background. The caller calls `shutdown`.

    Args:
        webhook_secret: file with the secret of MLflow's webhook; without one all deliveries are refused.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_SECONDS  # a body that never comes holds no thread for good

        def do_GET(self) -> None:
            if self.path == "/metrics":
                operator.metrics.leading.set(float(operator.controller.leads))
                operator.metrics.expect(body["metadata"]["name"] for body in operator.objects.all(_DEPLOYMENT))
                if not operator.controller.leads:
                    operator.metrics.show((), (), ())
                    operator.metrics.waiting.set(0)
                self._answer(200, CONTENT_TYPE_LATEST, operator.metrics.render())
            elif self.path in {"/healthz", "/readyz"}:
                wrong = _not_ready(operator) if self.path == "/readyz" else _not_healthy(operator)
                self._answer(503 if wrong else 200, "text/plain", f"{wrong or 'ok'}\n".encode())
            else:
                self._answer(404, "text/plain", b"/metrics, /healthz, /readyz\n")

        def do_POST(self) -> None:
            said = self.headers.get("content-length") or "0"
            length = int(said) if said.isascii() and said.isdecimal() else 0
            if self.path != "/hooks/mlflow":
                self._answer(404, "text/plain", b"/hooks/mlflow\n")
            elif not 0 < length <= MAX_BYTES:
                self._answer(413, "text/plain", b"a delivery has a body of at most 1 MiB\n")
            else:
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._answer(*_delivered(operator, webhook_secret, headers, self.rfile.read(length)))

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line each."""

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server


def _not_healthy(operator: Operator) -> str:
    return "the controller has not finished a round for too long" if operator.controller.late else ""


def _not_ready(operator: Operator) -> str:
    """What only a person can mend is no reason for the kubelet to restart it.

    Only who leads lists again and again, so only it notices that a kind is back.
    """
    current = operator.controller.leads or not operator.objects.listed
    return _not_healthy(operator) or (operator.objects.missing if current else "")


def _delivered(
    operator: Operator, secret: Path | None, headers: Mapping[str, str], body: bytes
) -> tuple[int, str, bytes]:
    """Status, type and text of the answer to a webhook."""
    if secret is None or not secret.exists():
        return 403, "text/plain", b"no webhook secret is set\n"
    if not verified(secret.read_text(encoding="utf-8").strip(), headers, body, time.time()):
        return 401, "text/plain", b"the signature is wrong or too old\n"
    operator.controller.parts.registry.hint()
    return 202, "text/plain", b"the registry is asked now\n"
