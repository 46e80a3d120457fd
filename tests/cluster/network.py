"""Who reaches whom on the node: connections from a pod, and from this machine, on which no policy is laid."""

from __future__ import annotations

import socket
from typing import Any

from tests.cluster.node import BASE_IMAGE, CONTAINER_SECURITY, POD_SECURITY, Json, Node

_SECONDS = 5


def bystander(name: str, **labels: str) -> Json:
    """A restricted pod that waits to be asked, see `reaches`."""
    container: Json = {
        "name": name,
        "image": BASE_IMAGE,
        "command": ["sleep", "infinity"],
        "securityContext": CONTAINER_SECURITY,
    }
    spec: Json = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name} | labels},
        "spec": spec,
    }


def started(node: Node, namespace: str, *pods: Json) -> None:
    """Applies them and waits until they run."""
    node.apply(*pods, namespace=namespace)
    names = [f"pod/{pod['metadata']['name']}" for pod in pods]
    node.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *names, namespace=namespace)


def reaches(node: Node, namespace: str, pod: str, host: str, port: int) -> bool:
    """Whether a TCP connection opens from a pod (`pod/NAME`, `deployment/NAME`).

    Raises:
        AssertionError: the pod cannot be asked.
    """
    trying = f"if timeout {_SECONDS} bash -c 'exec 3<>/dev/tcp/{host}/{port}'; then echo yes; else echo no; fi"
    said = node.kubectl("exec", pod, "--", "bash", "-c", trying, namespace=namespace).split()
    assert said[-1:] in (["yes"], ["no"]), said
    return said[-1] == "yes"


def listens(host: str, port: int) -> bool:
    """Whether somebody answers there at all."""
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError:
        return False
    return True


def address(node: Node, namespace: str, **labels: Any) -> str:
    """Of the one pod with these labels."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    (found,) = node.list("pods", namespace, f"--selector={selector}", "--field-selector=status.phase=Running")
    ip: str = found["status"]["podIP"]
    return ip
