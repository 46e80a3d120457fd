"""A connection that a test can cut: everything passes, nothing is accepted, or nothing ever answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.ports import free_port


class TcpProxy:
    """Forwards a loopback port to another address."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._hang = False
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = free_port()  # one that no outgoing connection takes while it is cut
        self.mend()

    def cut(self) -> None:
        """Breaks what is connected, and refuses what comes."""
        if self._listener is not None:
            with contextlib.suppress(OSError):  # wakes the thread in accept()
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self._break()

    def hang(self) -> None:
        """Accepts and never answers; what was connected breaks."""
        self._hang = True
        self._break()

    def mend(self) -> None:
        """Everything passes again, on the same port."""
        self._hang = False
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        self._break()

    def _break(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.append(client)
            if self._hang:
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._open.append(server)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def tcp_proxy(host: str, port: int) -> Iterator[TcpProxy]:
    made = TcpProxy(host, port)
    try:
        yield made
    finally:
        made.cut()
