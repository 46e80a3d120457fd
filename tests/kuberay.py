"""A stand-in for KubeRay's operator where no pods can run: RayServices onto one real Ray.

It does what KubeRay does with a RayService whose cluster is there: puts `serveConfigV2` to Ray's REST API and writes
the status in KubeRay's words (v1.6: conditions, activeServiceStatus, applicationStatuses, observedGeneration).
tests/integration/operator/test_kuberay_contract.py says what is relied on; the real operator has to pass it, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from tests.kube_api import ROOT, KubeApi
from tidegate.adapters.kube.kinds import RAY_SERVICE
from tidegate.settings import Settings

_SECONDS = 0.3
_MODULE = "github.com/ray-project/kuberay/ray-operator@v1.6.0"
_FILES = tuple(f"ray.io_{name}.yaml" for name in ("rayclusters", "rayjobs", "rayservices"))


def definitions(version: str) -> list[Path]:
    """The definition files of KubeRay v1.6 (its Go module) or v1.7 (TIDEGATE_CRDS, or beside the clone); [] without."""
    if version == "v1.7":
        folder = Path(os.environ.get("TIDEGATE_CRDS", ROOT.parent / "shared" / "crds"))
    elif go := shutil.which("go"):
        done = subprocess.run(
            [go, "mod", "download", "-json", _MODULE], capture_output=True, text=True, check=True, cwd=Path.home()
        )
        folder = Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "bases"
    else:
        return []
    return [folder / name for name in _FILES] if all((folder / name).is_file() for name in _FILES) else []


class KubeRayStandIn:
    """Reconciles all RayServices of one namespace; use as a context manager."""

    def __init__(self, api: KubeApi, namespace: str, ray: Settings) -> None:
        self._api = api
        self._path = RAY_SERVICE.path(namespace)
        self._engine = urlsplit(ray.engine_url)
        token = ray.ray_token_path.read_text().strip()
        self._ray = httpx.Client(
            base_url=ray.ray_dashboard_url,
            headers={"authorization": f"Bearer {token}"},
            timeout=90,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._applied: dict[str, Any] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kuberay", daemon=True)
        self.problems: list[str] = []

    def __enter__(self) -> KubeRayStandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS):
            try:
                self.reconcile()
            except (httpx.HTTPError, ValueError, KeyError) as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def reconcile(self) -> None:
        """One round."""
        with self._api.client() as client:
            services = client.get(self._path).raise_for_status().json()["items"]
            wanted = {body["metadata"]["name"]: yaml.safe_load(body["spec"]["serveConfigV2"]) for body in services}
            if wanted != self._applied:
                self._apply(wanted)
                self._applied = wanted
            applications = self._ray.get("/api/serve/applications/").raise_for_status().json()["applications"]
            for body in services:
                status = _status(body, wanted[body["metadata"]["name"]], applications)
                if _said(status) != _said(body.get("status") or {}):
                    path = f"{self._path}/{body['metadata']['name']}/status"
                    client.put(path, json={**body, "status": status})  # a conflict is settled by the next round

    def _apply(self, wanted: Mapping[str, Any]) -> None:
        applications = [application for config in wanted.values() for application in config["applications"]]
        options = {"host": self._engine.hostname, "port": self._engine.port}
        config = {"proxy_location": "HeadOnly", "http_options": options, "applications": applications}
        self._ray.put("/api/serve/applications/", json=config).raise_for_status()


def _status(body: Mapping[str, Any], config: Mapping[str, Any], running: Mapping[str, Any]) -> dict[str, Any]:
    names = [application["name"] for application in config["applications"]]
    ready = all(running.get(name, {}).get("status") == "RUNNING" for name in names)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "NonZeroServeEndpoints" if ready else "Initializing",
        "message": "Number of serve endpoints is greater than 0" if ready else "RayService is initializing",
        "observedGeneration": body["metadata"]["generation"],
        "lastTransitionTime": now,
    }
    return {
        "observedGeneration": body["metadata"]["generation"],
        "serviceStatus": "Running" if ready else "",
        "numServeEndpoints": int(ready),
        "conditions": [condition],
        "activeServiceStatus": {
            "rayClusterName": f"{body['metadata']['name']}-7k2xd",
            "applicationStatuses": {
                name: {
                    "status": running[name]["status"],
                    "message": running[name]["message"],
                    "serveDeploymentStatuses": {
                        deployment: {"status": found["status"], "message": found["message"]}
                        for deployment, found in running[name]["deployments"].items()
                    },
                }
                for name in names
                if name in running
            },
        },
    }


def _said(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status without its times, which change with every writing."""
    conditions = [{**item, "lastTransitionTime": ""} for item in status.get("conditions", ())]
    return {**status, "conditions": conditions}
