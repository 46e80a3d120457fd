"""A real Redis on a free port, with a password, that a test can kill and start again on its data."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.certificates import ServerFiles
from tests.ports import free_port

PASSWORD = "a password: it's #1 ${NOT_A_NAME}"
"""With characters that YAML, a shell and Feast's own replacement give a meaning."""
_SECONDS = 30.0
_INSTALL = Path(__file__).parents[1] / "hack/apt-install.sh"
_CANNOT_INSTALL = 3
"""The status with which it ends where there is no root or no apt-get."""


def program() -> str:
    """Redis' server; installed when root may.

    Debian's `redis-tools` brings the server's program under another name and, unlike `redis-server`, no service that
    starts by itself.
    """
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if found is None:
        done = subprocess.run([_INSTALL, "redis-tools"], check=False, capture_output=True, text=True)
        if done.returncode == _CANNOT_INSTALL:
            pytest.skip(f"no Redis on this machine: {done.stderr}")
        found = shutil.which("redis-check-rdb")
        assert found is not None, (
            f"Redis cannot be installed, {_INSTALL.name} ends with {done.returncode}: {done.stderr}"
        )
    return found


class RedisServer:
    """One server; what it holds is on disk before it answers. With `tls` it speaks nothing else."""

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", password: str = PASSWORD, tls: ServerFiles | None = None
    ) -> None:
        self.host, self.port = host, free_port(host)
        self.password = password
        self.tls = tls
        self._folder = folder
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            f"--port {0 if self.tls else self.port}",
            f"--bind {self.host}",
            f"--dir {self._folder}",
            "--save ''",
        ]
        options += ["--appendonly yes", "--appendfsync always"]
        if self.tls is not None:
            options += [f"--tls-port {self.port}", "--tls-auth-clients no", f"--tls-ca-cert-file {self.tls.authority}"]
            options += [f"--tls-cert-file {self.tls.certificate}", f"--tls-key-file {self.tls.key}"]
        quoted = self.password.replace('"', r"\"")
        settings = "\n".join(option.removeprefix("--") for option in options) + f'\nrequirepass "{quoted}"\n'
        config = self._folder / "redis.conf"
        config.write_text(settings)
        log = (self._folder / "redis.log").open("ab")
        # The program is what its first argument calls it.
        command = ["redis-server", str(config)]
        self._process = subprocess.Popen(command, executable=self._program, stdout=log, stderr=log)
        log.close()
        self._wait()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_SECONDS)
            self._process = None

    def client(self) -> Redis:
        trusted = str(self.tls.authority) if self.tls else None
        return Redis(
            host=self.host, port=self.port, password=self.password, ssl=self.tls is not None, ssl_ca_certs=trusted
        )

    def _wait(self) -> None:
        end = time.monotonic() + _SECONDS
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "redis.log").read_text()
            try:
                with self.client() as client:
                    client.ping()
                return
            except RedisError:
                assert time.monotonic() < end, (self._folder / "redis.log").read_text()
                time.sleep(0.05)


@contextmanager
def redis_server(folder: Path, tls: ServerFiles | None = None) -> Iterator[RedisServer]:
    made = RedisServer(folder, tls=tls)
    made.start()
    try:
        yield made
    finally:
        made.kill()
