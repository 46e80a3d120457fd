"""Runs on the backend: their steps' pods, and the RayJobs that were there while they went on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.kfp.backend import NAMESPACE, Backend

_RUN = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.MULTILINE)
STEPS = ("prepare", "features", "fine-tune", "evaluate", "register")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Messages to learn from, and how a pipeline is told to read them."""

    uri: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parameters(given: Mapping[str, Any]) -> list[str]:
    """As options of `tidegate pipelines run` and `schedule`."""
    return [part for name, value in given.items() for part in ("-p", f"{name}={json.dumps(value)}")]


def run_in(output: str) -> str | None:
    """The id of the run that a command says it has started."""
    match = _RUN.search(output)
    return match.group() if match else None


def pods_of(backend: Backend, run: str, step: str) -> list[dict[str, Any]]:
    """Pods that did the work of a run's step, the oldest first; not those that only prepared it."""
    found = backend.objects("pods", f"pipeline/runid={run},tidegate.dev/step={step}")
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def states(backend: Backend, run: str) -> dict[str, str]:
    """How the tasks of a run stand, by the name that people see."""
    tasks = backend.run(run).get("run_details", {}).get("task_details", [])
    return {task["display_name"]: task["state"] for task in tasks if {"display_name", "state"} <= set(task)}


_WATCH = ("-n", NAMESPACE, "get", "rayjobs", "--watch", "-o", r"jsonpath={.metadata.uid} {.metadata.name}{'\n'}")


class RayJobs:
    """Writes down every RayJob that is made while it watches; a finished one is gone a moment later."""

    def __init__(self, backend: Backend, log: Path) -> None:
        self._log = log
        self._before = {item["metadata"]["uid"] for item in backend.objects("rayjobs")}
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [backend.node.programs / "kubectl", f"--kubeconfig={backend.node.kubeconfig}", *_WATCH],
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> RayJobs:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def seen(self) -> dict[str, str]:
        """Names by uid."""
        lines = [line.split() for line in self._log.read_text(errors="replace").splitlines()]
        return {line[0]: line[1] for line in lines if len(line) == 2 and line[0] not in self._before}
