"""The one-node cluster of hack/kube as tests see it: kubectl, and what pods are given of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "hack" / "kube" / "cluster.sh"
ADDRESS = "10.250.0.1"
"""Where pods reach this machine, and this machine the API server."""
USER = 65532
"""Whom the platform's pods run as."""
BASE_IMAGE = "localhost/base:1"
_CANNOT_RUN = 3

Json = dict[str, Any]

POD_SECURITY: Json = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What Pod Security "restricted" wants of the tests' own pods."""


class CannotRun(Exception):
    """This machine lacks what the cluster needs: root, Go, Debian's packages."""


@dataclass(frozen=True)
class Node:
    """A running one-node cluster."""

    kubeconfig: Path
    programs: Path

    def kubectl(
        self, *arguments: str, namespace: str = "", stdin: str | None = None, check: bool = True, seconds: float = 120
    ) -> str:
        """Its standard output; a failure shows both outputs."""
        command = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}"]
        if namespace:
            command.append(f"--namespace={namespace}")
        done = subprocess.run(
            [*command, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=seconds
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}\n{done.stdout}")
        return done.stdout

    def apply(self, *manifests: Mapping[str, Any], namespace: str = "") -> None:
        """Server-side, as Argo CD does."""
        text = yaml.safe_dump_all([dict(item) for item in manifests])
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", namespace=namespace, stdin=text)

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        """One object; {} when there is none."""
        found = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found", namespace=namespace)
        return json.loads(found) if found else {}

    def list(self, kind: str, namespace: str = "", *selector: str) -> list[Json]:
        found: list[Json] = json.loads(self.kubectl("get", kind, "-o", "json", *selector, namespace=namespace))["items"]
        return found

    def make_namespace(self, name: str) -> None:
        """A namespace that takes restricted pods only."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.until(
            f"the default account of {name}", lambda: bool(self.get("serviceaccount", "default", name)), seconds=30
        )

    def end_namespace(self, name: str) -> None:
        """Deletes it and waits until it is gone."""
        self.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", seconds=150)

    def service_url(self, name: str, namespace: str) -> str:
        """Of a Service's first port, from this machine: kube-proxy routes ClusterIPs here, too."""
        spec = self.get("service", name, namespace)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def until(self, what: str, holds: Callable[[], Any], seconds: float = 120, told: Callable[[], str] = str) -> Any:
        """What `holds` gives once it gives something; `told` explains where it does not."""
        deadline = time.monotonic() + seconds
        while True:
            if found := holds():
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{told()}")
            time.sleep(0.25)

    def story(self, namespace: str) -> str:
        """What a person would look at first: pods, warnings, the last lines of pods that are not ready."""
        parts = [
            self.kubectl("get", "pods", "-o", "wide", namespace=namespace, check=False),
            self.kubectl("get", "events", "--field-selector=type=Warning", namespace=namespace, check=False)[-4000:],
        ]
        for pod in self.list("pods", namespace):
            states = pod.get("status", {}).get("containerStatuses", [])
            if not all(state["ready"] for state in states):
                name = pod["metadata"]["name"]
                log = self.kubectl("logs", name, "--all-containers", "--tail=30", namespace=namespace, check=False)
                parts.append(f"--- {name}\n{log}")
        return "\n".join(parts)


def bring_up() -> tuple[Node, bool]:
    """The node, and whether it was up before.

    Raises:
        CannotRun: this machine cannot run it; the message says why.
    """
    was_up = subprocess.run([CLUSTER, "status"], capture_output=True, check=False).returncode == 0
    done = subprocess.run([CLUSTER, "up"], capture_output=True, text=True, check=False)
    if done.returncode == _CANNOT_RUN:
        raise CannotRun(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"hack/kube/cluster.sh up failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    kubeconfig = subprocess.run([CLUSTER, "kubeconfig"], capture_output=True, text=True, check=True).stdout.strip()
    programs = subprocess.run(
        [ROOT / "hack" / "kube" / "build.sh"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return Node(Path(kubeconfig), Path(programs)), was_up


def take_down() -> None:
    """Ends the node; nothing of it may stay on this machine."""
    subprocess.run([CLUSTER, "down"], capture_output=True, check=True)
    for command in (["ip", "addr", "show"], ["nft", "list", "ruleset"], ["cat", "/proc/self/mountinfo"]):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        left = [
            mark for mark in (ADDRESS, "cni-tidegate0", "tidegate-seal", "KUBE-", "tidegate/kube/run") if mark in said
        ]
        assert not left, f"{' '.join(command)} still shows {left}"


def load(*archives: Path) -> None:
    """Puts OCI archives into the node's image store."""
    subprocess.run([CLUSTER, "load", *archives], capture_output=True, text=True, check=True)


# --- this machine's Python in pods ------------------------------------------------------------------------------------


def python_folders() -> dict[str, Path]:
    """What this Python consists of: its prefix, the virtual environment, and the repository (an editable install)."""
    found: dict[str, Path] = {}
    for name, path in (("python", sys.base_prefix), ("repository", str(ROOT)), ("venv", sys.prefix)):
        folder = Path(path).resolve()
        if not any(folder.is_relative_to(other) for other in found.values()):
            found[name] = folder
    return found


def python_environment() -> dict[str, str]:
    """Variables under which a pod with those folders runs this Python."""
    return {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",  # noqa: S108 - inside the pod
    }


def python_volumes() -> tuple[list[Json], list[Json]]:
    """Volumes and mounts of a pod, at the same paths as here and read-only; see `folder_claims`."""
    folders = python_folders()
    volumes: list[Json] = [
        {"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}} for name in folders
    ]
    mounts: list[Json] = [
        {"name": name, "mountPath": str(folder), "readOnly": True} for name, folder in folders.items()
    ]
    return volumes, mounts


def folder_claims(namespace: str, folders: Mapping[str, Path], modes: Sequence[str] = ("ReadOnlyMany",)) -> list[Json]:
    """A PersistentVolume and its claim for each folder of this machine.

    Restricted pods may not mount a host's folder themselves; a claim they may.
    """
    made: list[Json] = []
    for name, folder in folders.items():
        volume = f"{namespace}-{name}"
        common = {"accessModes": list(modes), "storageClassName": ""}
        made += [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": {
                    **common,
                    "capacity": {"storage": "1Gi"},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": namespace, "name": name},
                    "hostPath": {"path": str(folder), "type": "Directory"},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {**common, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}},
            },
        ]
    return made


def data_folder(path: Path) -> Path:
    """A folder that the platform's pods may write."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, USER, USER)
    return path
