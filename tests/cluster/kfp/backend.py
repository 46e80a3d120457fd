"""Kubeflow Pipelines and KubeRay on the one-node cluster of hack/kube, and what their APIs say."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tests.cluster.node import ROOT, CannotRun, Json, Node

NAMESPACE = "kubeflow"
Found = TypeVar("Found")
_CANNOT = 3
"""Exit status of the scripts where this machine cannot run it."""


@dataclass(frozen=True)
class Backend:
    """The node, and the API on it."""

    node: Node
    api: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """In the namespace of the runs."""
        return self.node.kubectl(*arguments, namespace=NAMESPACE, stdin=stdin)

    def objects(self, kind: str, selector: str = "") -> list[Json]:
        """All objects of a kind in the namespace of the runs."""
        return self.node.list(kind, NAMESPACE, f"--selector={selector}")

    def run(self, run_id: str) -> Json:
        """What the API says of a run, its tasks included."""
        return self._get(f"runs/{run_id}")

    def runs(self) -> list[Json]:
        """Newest first."""
        found: list[Json] = self._get("runs", sort_by="created_at desc", page_size="100").get("runs", [])
        return found

    def recurring_runs(self) -> list[Json]:
        found: list[Json] = self._get("recurringruns", page_size="100").get("recurringRuns", [])
        return found

    def retry(self, run_id: str) -> None:
        """As the button "Retry" of a failed run's page."""
        with httpx.Client(trust_env=False, timeout=60) as client:
            client.post(f"{self.api}/apis/v2beta1/runs/{run_id}:retry").raise_for_status()

    def _get(self, path: str, **query: str) -> Json:
        with httpx.Client(trust_env=False, timeout=60) as client:
            found: Json = client.get(f"{self.api}/apis/v2beta1/{path}", params=query).raise_for_status().json()
        return found


def start(node: Node) -> tuple[Backend, bool]:
    """KubeRay and Kubeflow Pipelines on the node, and whether Pipelines were up before; builds what is missing.

    Raises:
        CannotRun: not on this machine.
    """
    was_up = subprocess.run([ROOT / "hack/kfp/status.sh"], capture_output=True, check=False).returncode == 0
    script("hack/kuberay/up.sh")
    return Backend(node, script("hack/kfp/up.sh").splitlines()[-1]), was_up


def stop() -> None:
    """Ends what runs beside the cluster, which nothing else ends."""
    script("hack/kfp/down.sh")


def script(path: str, *arguments: str) -> str:
    """Standard output of a script of this repository.

    Raises:
        CannotRun: this machine cannot run it.
    """
    done = subprocess.run([ROOT / path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == _CANNOT:
        raise CannotRun(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{path} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def kill_container(pod: Mapping[str, Any], name: str) -> None:
    """SIGKILL to a container's first process, as the kernel does it when memory is short."""
    statuses = pod["status"]["containerStatuses"]
    container = next(item["containerID"] for item in statuses if item["name"] == name)
    script = f". hack/kube/node/env.sh; ctr task kill --signal SIGKILL {container.removeprefix('containerd://')}"
    subprocess.run(["bash", "-c", script], cwd=ROOT, check=True, capture_output=True)


def wait_for(
    look: Callable[[], Found | None],
    what: str,
    seconds: float,
    process: subprocess.Popen[bytes] | None = None,
) -> Found:
    """The first thing found that is true. A process that ends meanwhile ends the waiting."""
    deadline = time.monotonic() + seconds
    while True:
        ended = process is not None and process.poll() is not None
        found = look()
        if found:
            return found
        if ended or time.monotonic() > deadline:
            raise TimeoutError(f"{what}: {'its command has ended' if ended else f'{seconds:.0f} s have passed'}")
        time.sleep(1)
