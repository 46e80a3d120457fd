"""`/metrics` for Prometheus, `/healthz` for the kubelet, `/readyz` for both: a standby is ready, too."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from serving.operator.assembly import Operator


def serve(operator: Operator, host: str, port: int) -> ThreadingHTTPServer:
    """Serves in the background. The caller calls `shutdown`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                operator.metrics.leading.set(float(operator.controller.leads))
                self._answer(200, CONTENT_TYPE_LATEST, operator.metrics.render())
            elif self.path in {"/healthz", "/readyz"}:
                late = operator.controller.late
                body = b"ok\n" if not late else b"the controller has not finished a round for too long\n"
                self._answer(503 if late else 200, "text/plain", body)
            else:
                self._answer(404, "text/plain", b"/metrics, /healthz, /readyz\n")

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
