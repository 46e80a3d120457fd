"""A stand-in for KubeRay's operator where no pods can run: RayJobs onto processes of this machine.

It runs the entrypoint of every RayJob as KubeRay would have Ray run it, and writes the status in KubeRay's words
(v1.6: jobDeploymentStatus, jobStatus, reason, message). The real operator runs the same jobs in tests/cluster/kfp.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.kube_api import ROOT, KubeApi
from tidegate.adapters.rayjob_manifest import RAY_JOB

_SECONDS = 0.2


class RayJobStandIn:
    """Carries out all RayJobs of one namespace; use as a context manager.

    Args:
        environment: of the jobs, as ConfigMap and Secret would give it.
        logs: folder for what they print.
    """

    def __init__(self, api: KubeApi, namespace: str, environment: Mapping[str, str], logs: Path) -> None:
        self._api = api
        self._path = RAY_JOB.path(namespace)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment}
        self._logs = logs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rayjobs", daemon=True)
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}
        self.problems: list[str] = []

    def __enter__(self) -> RayJobStandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        for job in self.jobs.values():
            job.kill()
            job.wait()

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS):
            try:
                self._reconcile()
            except (httpx.HTTPError, KeyError) as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def _reconcile(self) -> None:
        with self._api.client() as client:
            bodies = client.get(self._path).raise_for_status().json()["items"]
            there = {body["metadata"]["name"] for body in bodies}
            for name, job in self.jobs.items():
                if name not in there and job.poll() is None:
                    job.kill()
            for body in bodies:
                status = self._status(body)
                if status != (body.get("status") or {}):
                    path = f"{self._path}/{body['metadata']['name']}/status"
                    client.put(path, json={**body, "status": status})  # a conflict is settled by the next round

    def _status(self, body: Mapping[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if name not in self.jobs:
            log = (self._logs / f"{name}.log").open("wb")
            argv = shlex.split(body["spec"]["entrypoint"])
            self.jobs[name] = subprocess.Popen(argv, env=self._environment, stdout=log, stderr=log, cwd=ROOT)
        code = self.jobs[name].poll()
        common = {"jobId": f"{name}-x", "rayClusterName": f"{name}-c"}
        if code is None:
            return {**common, "jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
        if code == 0:
            return {**common, "jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
        told = {"reason": "AppFailed", "message": f"Job entrypoint command failed with exit code {code}"}
        return {**common, "jobDeploymentStatus": "Failed", "jobStatus": "FAILED", **told}
