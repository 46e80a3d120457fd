"""A real Kubernetes API server for tests: etcd and kube-apiserver on loopback, without a node. Ready in about 3 s.

There is no controller-manager: namespaces never end, objects are not collected with their owners.

    with KubeApi(tmp_path / "kube", kube_programs()) as api:
        api.kubectl("get", "namespaces")
        api.request("GET", "/api/v1/namespaces", user="alice").status_code  # 403: RBAC is on
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.kube_certs import write_certificates

ROOT = Path(__file__).resolve().parent.parent
USERS = {
    "admin": ("system:masters",),
    "operator": ("tidegate:operators",),
    "alice": ("tidegate:people",),
    "bob": ("tidegate:people",),
}
"""Name and groups; each has a token and a kubeconfig."""
_READY_WITHIN = 60.0
_STOPPED_WITHIN = 15.0
_ATTEMPTS = 3
_NO_PROGRAMS = 3
"""What hack/kube/build.sh exits with when it can neither find nor build them."""


class ProgramsMissing(Exception):
    """There is no Go to build the programs with."""


def kube_programs() -> Path:
    """The folder of etcd, kube-apiserver and kubectl; the first call on a machine builds them (2 minutes).

    Raises:
        ProgramsMissing: they are not there and cannot be built.
    """
    made = subprocess.run([ROOT / "hack" / "kube" / "build.sh"], capture_output=True, text=True, check=False)
    if made.returncode == _NO_PROGRAMS:
        raise ProgramsMissing(made.stderr.strip())
    if made.returncode != 0:
        raise RuntimeError(f"hack/kube/build.sh failed:\n{made.stderr[-4000:]}")
    return Path(made.stdout.strip())


class KubeApi:
    """An API server and its etcd in one folder. Ports and data stay the same from start to start."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._ports: tuple[int, int, int] | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        write_certificates(folder / "pki")
        self.tokens = {user: secrets.token_hex(16) for user in USERS}
        rows = [f'{self.tokens[user]},{user},{user},"{",".join(groups)}"\n' for user, groups in USERS.items()]
        (folder / "tokens.csv").touch(mode=0o600)
        (folder / "tokens.csv").write_text("".join(rows), encoding="utf-8")

    # --- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts what does not run, and returns when the API server is ready."""
        for attempt in range(_ATTEMPTS):
            if self._ports is None:
                self._ports = _free_ports()
            try:
                self._launch()
                self._wait_ready()
            except _PortTaken:
                self.stop()
                if attempt == _ATTEMPTS - 1:
                    raise
                if not (self.folder / "etcd").exists():  # nobody knows the address yet: take another
                    self._ports = None
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """Ends both, the API server first; what does not end within 15 s is killed."""
        self.resume()
        for name in ("kube-apiserver", "etcd"):
            process = self._processes.pop(name, None)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(_STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._watch_over()

    def kill(self) -> None:
        """SIGKILL for the API server: connections break without a word. `start` starts it again."""
        process = self._processes.pop("kube-apiserver", None)
        if process is not None:
            process.kill()
            process.wait()
        self._watch_over()

    def pause(self) -> None:
        """SIGSTOP for the API server: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused API server go on."""
        self._signal(signal.SIGCONT)

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

    # --- use --------------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        if self._ports is None:
            raise RuntimeError("the API server was never started")
        return f"https://127.0.0.1:{self._ports[0]}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "pki" / "ca.crt"

    def kubeconfig(self, user: str = "admin", namespace: str = "default") -> Path:
        """A kubeconfig of the user, whose current namespace is the one given."""
        path = self.folder / f"{user}.{namespace}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)}}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": namespace}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def kubectl(
        self,
        *arguments: str,
        user: str = "admin",
        namespace: str = "default",
        stdin: str | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """kubectl as the user. With `check` a failure raises, with what kubectl said."""
        done = subprocess.run(
            [self._programs / "kubectl", f"--kubeconfig={self.kubeconfig(user, namespace)}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECACHEDIR": str(self.folder / "cache")},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} exits {done.returncode}:\n{done.stderr}{done.stdout}")
        return done

    def client(self, user: str = "admin") -> httpx.Client:
        """An HTTP client with the user's token."""
        return httpx.Client(
            base_url=self.url,
            verify=_trust(self.ca_file),
            headers={"authorization": f"Bearer {self.tokens[user]}"},
            trust_env=False,
            timeout=30,
        )

    def request(
        self, method: str, path: str, body: Any = None, *, user: str = "admin", content_type: str = "application/json"
    ) -> httpx.Response:
        """One request as the user."""
        with self.client(user) as client:
            content = None if body is None else json.dumps(body)
            return client.request(method, path, content=content, headers={"content-type": content_type})

    def make_namespace(self, prefix: str = "test") -> str:
        """A new namespace. None ever ends here, so each test takes its own."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": f"{prefix}-"}}
        made = self.request("POST", "/api/v1/namespaces", body)
        made.raise_for_status()
        return str(made.json()["metadata"]["name"])

    # --- processes --------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        assert self._ports is not None
        api, client, peer = self._ports
        pki, etcd = self.folder / "pki", f"http://127.0.0.1:{client}"
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._run(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={api}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={pki}",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={pki / 'accounts.pub'}",
            f"--service-account-signing-key-file={pki / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--disable-admission-plugins=ServiceAccount",  # nobody makes the accounts that pods would need
        )
        self._watch_over()

    def _run(self, program: str, *arguments: str) -> None:
        if program in self._processes:
            return
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ^C reaches the tests, which then end these in order
            )

    def _watch_over(self) -> None:
        """A guard that kills what runs when this process ends in any way, SIGKILL too: its standard input closes."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None
        if self._processes:
            script = 'cat > /dev/null; kill -9 "$@"'
            self._guard = subprocess.Popen(
                ["sh", "-c", script, "guard", *map(str, self.pids.values())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        with self.client() as client:
            while True:
                for name, process in self._processes.items():
                    if process.poll() is not None:
                        tail = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
                        problem = _PortTaken if "address already in use" in tail else RuntimeError
                        raise problem(f"{name} ended with {process.returncode}:\n{tail}")
                try:
                    if client.get("/readyz", timeout=2).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline:
                    tail = (self.folder / "kube-apiserver.log").read_text(errors="replace")[-3000:]
                    raise TimeoutError(f"the API server is not ready after {_READY_WITHIN:.0f} s:\n{tail}")
                time.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        process = self._processes.get("kube-apiserver")
        if process is not None and process.poll() is None:
            process.send_signal(number)


class _PortTaken(RuntimeError):
    """Somebody took the port between the choice and the start."""


def _free_ports() -> tuple[int, int, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [int(held.getsockname()[1]) for held in sockets]
    for held in sockets:
        held.close()
    return ports[0], ports[1], ports[2]


def _trust(ca_file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file))
