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
import shutil
import signal
import ssl
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.kube_certs import write_certificates
from tests.kube_processes import GuardedProcesses
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
USERS = {
    "admin": ("system:masters",),
    "operator": ("tidegate:operators",),
    "alice": ("tidegate:people",),
    "bob": ("tidegate:people",),
}
"""Name and groups; each has a token and a kubeconfig."""
_READY_WITHIN = 60.0
_ATTEMPTS = 3
_API, _ETCD = "kube-apiserver", "etcd"
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
        self.programs = programs
        self._ports: tuple[int, ...] | None = None
        self._was_ready = False
        self._processes = GuardedProcesses(folder)
        self._clients: dict[str, httpx.Client] = {}
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
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._launch()
                self._wait_ready()
            except _PortTaken:
                self.stop()
                if attempt == _ATTEMPTS:
                    raise
                self._try_otherwise()
            except BaseException:
                self.stop()
                raise
            else:
                self._was_ready = True
                return

    def stop(self) -> None:
        """Ends both, the API server first; what does not end within 15 s is killed."""
        self.resume()
        self._forget_connections()
        self._processes.end(_API)
        self._processes.end(_ETCD)

    def kill(self) -> None:
        """SIGKILL for the API server: connections break without a word. `start` starts it again."""
        self._processes.kill(_API)
        self._forget_connections()

    def pause(self) -> None:
        """SIGSTOP for the API server: connections stay open and nothing answers."""
        self._processes.signal(_API, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused API server go on."""
        self._processes.signal(_API, signal.SIGCONT)

    @property
    def pids(self) -> dict[str, int]:
        return self._processes.pids

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
            [self.programs / "kubectl", f"--kubeconfig={self.kubeconfig(user, namespace)}", *arguments],
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
        """A new HTTP client with the user's token."""
        return httpx.Client(
            base_url=self.url,
            verify=_trust(self.ca_file),
            headers={"authorization": f"Bearer {self.tokens[user]}"},
            trust_env=False,
            timeout=30,
        )

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str = "admin",
        content_type: str = "application/json",
    ) -> httpx.Response:
        """One request as the user, on a connection that is kept for the next."""
        if user not in self._clients:
            self._clients[user] = self.client(user)
        content = None if body is None else json.dumps(body)
        return self._clients[user].request(method, path, content=content, headers={"content-type": content_type})

    def make_namespace(self, prefix: str = "test") -> str:
        """A new namespace. None ever ends here, so each test takes its own."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": f"{prefix}-"}}
        made = self.request("POST", "/api/v1/namespaces", body)
        made.raise_for_status()
        return str(made.json()["metadata"]["name"])

    # --- processes --------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._ports = self._ports or tuple(free_ports(3))
        api, client, peer = self._ports
        pki, etcd = self.folder / "pki", f"http://127.0.0.1:{client}"
        self._processes.start(
            self.programs / _ETCD,
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._processes.start(
            self.programs / _API,
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

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        with self.client() as client:
            while True:
                for name, code in self._processes.ended().items():
                    tail = self._tail(name)
                    problem = _PortTaken if "address already in use" in tail else RuntimeError
                    raise problem(f"{name} ended with {code}:\n{tail}")
                try:
                    if client.get("/readyz", timeout=2).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the API server is not ready after {_READY_WITHIN:.0f} s:\n{self._tail(_API)}")
                time.sleep(0.05)

    def _try_otherwise(self) -> None:
        for name in (_API, _ETCD):
            self._processes.log(name).unlink(missing_ok=True)
        if self._was_ready:  # clients know the address: whoever has the port for a moment gives it back
            time.sleep(1)
        else:
            self._ports = None
            shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def _tail(self, name: str) -> str:
        return self._processes.log(name).read_text(errors="replace")[-3000:]

    def _forget_connections(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()


class _PortTaken(RuntimeError):
    """Somebody took the port between the choice and the start."""


def _trust(ca_file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file))
