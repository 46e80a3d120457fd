"""A cluster without nodes: real API server, MLflow, Ray with the real small model, operator, gateway and scorer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.integration.engines.platform import ray_head
from tests.kube_api import KubeApi
from tests.kuberay import KubeRayStandIn
from tests.mlflow_process import Server
from tests.model_manifests import NAME, RUNTIME
from tests.model_versions import BASE, Versions, adapters
from tests.ports import free_ports
from tidegate import attestation
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.api_keys import ensure_default_keys
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.local.demo.traffic import TrafficDriver
from tidegate.settings import Settings


@dataclass
class Processes:
    """Programs of the platform, ended by pid."""

    home: Path
    environment: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, module: str, **more: str) -> None:
        log = (self.home / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(
            [sys.executable, "-m", module],
            env={**os.environ, **self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        self.running[name].send_signal(number)

    def pid(self, name: str) -> int:
        return self.running[name].pid

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Cluster:
    """What a test does and looks at."""

    api: KubeApi
    namespace: str
    home: Path
    settings: Settings
    processes: Processes
    mlflow: Server
    versions: Versions

    # --- the API server ----------------------------------------------------------------------------------------------

    def apply(self, *manifests: Mapping[str, Any], user: str = "admin") -> None:
        text = yaml.safe_dump_all([dict(item) for item in manifests])
        self.api.kubectl("apply", "--server-side", "-f", "-", namespace=self.namespace, stdin=text, user=user)

    def ask(self, action: str, user: str, **more: str) -> str:
        """A person's RolloutAction; its name."""
        name = f"{action.lower()}-{time.monotonic_ns()}"
        spec = {"deployment": NAME, "action": action, "requestedBy": user, **more}
        body = {
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "RolloutAction",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.api.kubectl("create", "-f", "-", namespace=self.namespace, stdin=json.dumps(body), user=user)
        return name

    def get(self, kind: str, name: str) -> dict[str, Any]:
        done = self.api.kubectl("get", kind, name, "-o", "json", namespace=self.namespace)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def list(self, kind: str) -> list[dict[str, Any]]:
        done = self.api.kubectl("get", kind, "-o", "json", namespace=self.namespace)
        items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return items

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("modeldeployment", NAME).get("status") or {}
        return found

    def until(self, what: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 180) -> dict[str, Any]:
        """The deployment's status once it is so."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status
            if holds(status):
                return status
            if time.monotonic() > deadline:
                said = {key: status.get(key) for key in ("phase", "step", "pairs", "reason", "message", "conditions")}
                logs = "\n".join(self.processes.log(name)[-3000:] for name in ("gateway", "operator"))
                # What is so comes last: a long message is read, and cut, from its end.
                raise AssertionError(f"{logs}\nnot within {seconds:.0f} s: {what}; {json.dumps(said)}")
            time.sleep(0.3)

    def phase(self, *phases: str, seconds: float = 180) -> dict[str, Any]:
        return self.until(f"phase {' or '.join(phases)}", lambda status: status.get("phase") in phases, seconds)

    def condition(self, kind: str, status: Mapping[str, Any]) -> dict[str, Any]:
        return next(item for item in status["conditions"] if item["type"] == kind)

    def reasons(self) -> set[str]:
        """Of all Events."""
        return {body["reason"] for body in self.list("events.events.k8s.io")}

    # --- traffic and facts -------------------------------------------------------------------------------------------

    def driver(self) -> TrafficDriver:
        keys = ensure_default_keys(self.settings.api_keys_path)
        return TrafficDriver(
            self.settings.gateway_url, keys["app"], NAME, label_key=keys["labeller"], concurrency=8, label_delay=0.2
        )

    @property
    def database(self) -> Database:
        return Database.open(self.settings.database_url)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.database, SystemClock())


@contextmanager
def cluster(api: KubeApi, home: Path) -> Iterator[Cluster]:
    """Everything but the operator, which tests start themselves."""
    home.mkdir(parents=True, exist_ok=True)
    namespace = api.make_namespace("operator")
    with ExitStack() as stack:
        mlflow = Server(home)
        mlflow.start()
        stack.callback(mlflow.stop)
        ray = stack.enter_context(ray_head(home))
        stack.enter_context(KubeRayStandIn(api, namespace, ray))
        pools = home / "pools.yaml"
        pools.write_text(yaml.safe_dump({"cpu": {"cpu": "2", "memory": "4Gi"}}))
        gateway, metrics = free_ports(2)
        environment = {
            "TIDEGATE_PROFILE": "cluster",
            "TIDEGATE_HOME": str(home),
            "KUBECONFIG": str(api.kubeconfig("admin", namespace)),
            "TIDEGATE_DATABASE_URL": f"sqlite:///{home / 'tidegate.db'}",
            "TIDEGATE_ARTIFACTS_URI": str(home / "artifacts"),
            "TIDEGATE_INFERENCE_LOG__URI": str(home / "inference-log"),
            "TIDEGATE_MLFLOW_URI": mlflow.uri,
            "TIDEGATE_RAY_ADDRESS": ray.ray_address,
            "TIDEGATE_RAY_DASHBOARD_URL": ray.ray_dashboard_url,
            "TIDEGATE_ENGINE_URL": ray.engine_url,
            "TIDEGATE_GATEWAY_URL": f"http://127.0.0.1:{gateway}",
            "TIDEGATE_GATEWAY_PORT": str(gateway),
            "TIDEGATE_RECEIVER_URL": "http://127.0.0.1:9",
            "TIDEGATE_CLUSTER__ENGINE_URL": ray.engine_url,
            "TIDEGATE_CLUSTER__RAY_DASHBOARD_URL": ray.ray_dashboard_url,
            "TIDEGATE_CLUSTER__ENGINE_IMAGE": "localhost/engine:1",
            "TIDEGATE_CLUSTER__NODE_POOLS_PATH": str(pools),
            "TIDEGATE_CLUSTER__METRICS_HOST": "127.0.0.1",
            "TIDEGATE_CLUSTER__METRICS_PORT": str(metrics),
            "TIDEGATE_SCORING__LABEL_HORIZON_SECONDS": "30",
            "TIDEGATE_INTERVALS__LEASE_TTL": "20",
        }
        names = {key.removeprefix("TIDEGATE_"): value for key, value in environment.items() if "TIDEGATE_" in key}
        settings = _settings(names)
        ensure_default_keys(settings.api_keys_path)
        Database.open(settings.database_url)
        processes = Processes(home, environment)
        attestation.load_or_create_key(home / "secrets" / "attestation.key")
        stack.callback(processes.stop)
        processes.start("gateway", "serving.gateway")
        processes.start("scorer", "monitoring.scoring")
        yield Cluster(
            api=api,
            namespace=namespace,
            home=home,
            settings=settings,
            processes=processes,
            mlflow=mlflow,
            versions=Versions(
                registry=MlflowRegistry(mlflow.uri, cache=home / "cache"),
                mlflow_uri=mlflow.uri,
                key=settings.attestation_key_path,
                adapters=adapters(),
            ),
        )


def _settings(names: Mapping[str, str]) -> Settings:
    """The settings that the processes have, without touching this process's environment."""
    flat: dict[str, Any] = {}
    for name, value in names.items():
        group, _, key = name.lower().partition("__")
        if key:
            flat.setdefault(group, {})[key] = value
        else:
            flat[group] = value
    return Settings(**flat)


def runtime() -> dict[str, Any]:
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "ModelRuntime",
        "metadata": {"name": RUNTIME},
        "spec": {"baseModel": {"uri": BASE}, "engine": {"type": "Transformers"}, "placement": {"nodePool": "cpu"}},
    }


def metrics(cluster: Cluster) -> str:
    port = cluster.settings.cluster.metrics_port
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).raise_for_status().text
