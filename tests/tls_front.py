"""TLS before an API of plain HTTP, as an ingress terminates it: what is asked passes on, credentials among it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.kube_certs import write_certificates

_OF_A_CONNECTION = {"connection", "content-length", "content-encoding", "transfer-encoding", "host", "accept-encoding"}


@contextmanager
def tls_front(upstream: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Its address on this machine, and the file of the authority that signed its certificate."""
    write_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    with httpx.Client(base_url=upstream, trust_env=False, timeout=60) as client:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(client))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, name="tls-front", daemon=True).start()
        try:
            yield f"https://127.0.0.1:{server.server_port}", folder / "ca.crt"
        finally:
            server.shutdown()
            server.server_close()


def _handler(client: httpx.Client) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION}
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            answer = client.request(self.command, self.path, headers=headers, content=body)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _OF_A_CONNECTION:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - the names that the server looks for

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
