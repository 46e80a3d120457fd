"""A real PostgreSQL server as a process, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from tests.certificates import ServerFiles
from tests.ports import free_port

ADMIN = "tidegate"


class NoServer(Exception):
    """This machine lacks the server or its driver."""


class Postgres:
    """A server that can be stopped and started again on the same data.

    Args:
        host: where it listens, and nowhere else.
        password: of its administrator; without one everybody is trusted who reaches it.
        settings: of the server, by name.
        tls: with it nobody is let in without TLS; this machine's own clients verify the server, too.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        password: str = "",
        settings: dict[str, str] | None = None,
        tls: ServerFiles | None = None,
    ) -> None:
        self._programs = _programs()
        self._password = password
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-pg-"))
        self._user = _unprivileged()
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        self._port = free_port(host)
        self._host = host
        self._tls = tls
        chosen = {"listen_addresses": host, "fsync": "off", **(settings or {})}
        if tls is not None:
            own = {"ssl_cert_file": tls.certificate, "ssl_key_file": tls.key}
            chosen |= {"ssl": "on"} | {name: str(self._owned(file)) for name, file in own.items()}
        self._options = " ".join(f"-c {name}={value}" for name, value in chosen.items())

    def url(self, database: str = "", user: str = ADMIN, password: str | None = None) -> str:
        secret = self._password if password is None else password
        who = f"{user}:{secret}" if secret else user
        return f"postgresql://{who}@{self._host}:{self._port}" + (f"/{database}" if database else "")

    @property
    def verified(self) -> str:
        """What a URL ends with where its client is on this machine and verifies the server; nothing without TLS."""
        return "" if self._tls is None else f"?sslmode=verify-full&sslrootcert={self._tls.authority}"

    def create(self) -> None:
        """The server's files; with a password everybody has to show one, from wherever they come."""
        data, secret = self._folder / "db", self._folder / "password"
        asked = ["-A", "trust"]
        if self._password:
            secret.write_text(self._password)
            secret.chmod(0o644)
            asked = ["-A", "scram-sha-256", f"--pwfile={secret}"]
        self._run("initdb", "-D", str(data), "-U", ADMIN, "--no-sync", *asked)
        secret.unlink(missing_ok=True)
        if self._password:
            with (data / "pg_hba.conf").open("a") as file:
                file.write("host all all 0.0.0.0/0 scram-sha-256\n")
        if self._tls is not None:
            rules = data / "pg_hba.conf"
            rules.write_text(re.sub(r"^host ", "hostssl ", rules.read_text(), flags=re.MULTILINE))

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} {self._options}"
        self._run(
            "pg_ctl", "-D", str(self._folder / "db"), "-w", "-l", str(self._folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        """At once: connections break."""
        self._run("pg_ctl", "-D", str(self._folder / "db"), "-m", "immediate", "stop")

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def execute(self, *statements: str) -> None:
        """As administrator, each in a transaction of its own."""
        execute(self.url("postgres") + self.verified, *statements)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _owned(self, file: Path) -> Path:
        """A copy that the server's user may read, and nobody else, as PostgreSQL wants a key."""
        copy = self._folder / file.name
        copy.touch(mode=0o600)
        copy.write_bytes(file.read_bytes())
        if self._user is not None:
            os.chown(copy, pwd.getpwnam(self._user).pw_uid, -1)
        return copy

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            check=False,
            user=self._user,
            cwd=self._folder,
            env={"LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def execute(url: str, *statements: str) -> None:
    """Each in a transaction of its own, as `CREATE DATABASE` wants it."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        for statement in statements:
            conn.execute(sa.text(statement))
    engine.dispose()


def _programs() -> Path:
    """The folder of the server's programs, the newest version first; Debian keeps them off the PATH."""
    if find_spec("psycopg") is None:
        raise NoServer("psycopg, the PostgreSQL driver of the extra 'cluster', is not installed")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = next((folder for folder in folders if (folder / "initdb").exists()), None)
    on_path = shutil.which("initdb")
    if found is None and on_path is None:
        raise NoServer("no PostgreSQL server binaries on this machine")
    return found or Path(str(on_path)).resolve().parent


def _unprivileged() -> str | None:
    """Who runs the server: None keeps the current user, which must not be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
