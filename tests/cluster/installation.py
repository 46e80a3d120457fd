"""tidegate installed on the one-node cluster: what Helm finds, what people do, what can be seen of it."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster.helm import helm
from tests.cluster.machine import API_SERVER, HEAD, SMALL, images_here, pool_here
from tests.cluster.node import (
    BASE_IMAGE,
    CONTAINER_SECURITY,
    POD_SECURITY,
    ROOT,
    USER,
    Json,
    Node,
    folder_claims,
    python_environment,
    python_folders,
    python_volumes,
)
from tests.model_manifests import NAME, RUNTIME
from tests.model_versions import BASE, MODEL, adapters
from tidegate.api_keys import ensure_default_keys
from tidegate.local.demo.traffic import TrafficDriver

RELEASE = "tidegate"
DATA = "/var/lib/tidegate-data"
"""Where the chart mounts the volume of the local extras."""
ONE_NODE = ROOT / "examples" / "one-node" / "values.yaml"
_REGISTERS = {"app": "register-versions"}
"""Whom the release's MLflow lets in beside its own pods."""


@dataclass
class Installation:
    """One release in a namespace of its own."""

    node: Node
    namespace: str
    home: Path
    """On this machine: keys and values files."""
    data: Path
    """On this machine: what the pods see as `DATA`."""

    # --- before Helm --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Namespace, volumes and secrets, as a platform team makes them first."""
        self.node.make_namespace(self.namespace)
        claims = folder_claims(self.namespace, python_folders())
        volume = folder_claims(self.namespace, {"data": self.data}, ("ReadWriteOnce",))[0]
        volume["spec"]["claimRef"]["name"] = "tidegate-data"  # the chart makes the claim
        self.node.apply(*claims, volume)
        self.node.apply(*self.secrets(), namespace=self.namespace)

    def secrets(self) -> list[Json]:
        keys = self.home / "api-keys.yaml"
        ensure_default_keys(keys)
        return [
            secret("tidegate-attestation", {"attestation.key": secrets.token_hex(32).encode()}),
            secret(
                "tidegate-gateway",
                {"api-keys.yaml": keys.read_bytes(), "user-pseudonym.key": secrets.token_bytes(32)},
            ),
            secret("tidegate-receiver", {"token": secrets.token_hex(24).encode()}),
        ]

    def receiver_token(self) -> str:
        """What Alertmanager has to show."""
        return self.value("secret", "tidegate-receiver", "token")

    def value(self, kind: str, name: str, key: str) -> str:
        """What a Secret or a ConfigMap holds."""
        held: str = self.node.get(kind, name, self.namespace)["data"][key]
        return base64.b64decode(held).decode() if kind == "secret" else held

    def values(self) -> Json:
        """What differs from examples/one-node/values.yaml: images of this machine, and its Python for the engines."""
        return {
            **images_here(),
            "gpuNodePools": {"local": pool_here()},
            "engines": {"head": HEAD, "env": {"TIDEGATE_CACHE": f"{DATA}/cache"}},
            "local": {"storageClassName": "-", "volumeName": f"{self.namespace}-data"},
            "mlflow": {"server": {**SMALL, "allowedHosts": ["10.97.*"]}},  # the tests call it by its ClusterIP
            "networkPolicy": {**API_SERVER, "mlflowFrom": [{"podSelector": {"matchLabels": _REGISTERS}}]},
            "settings": {"TIDEGATE_SCORING__LABEL_HORIZON_SECONDS": "30"},
        } | dict.fromkeys(("operator", "gateway", "scorer", "receiver"), SMALL)

    def remove(self) -> None:
        """Everything of it, in the order of docs/chart.md; also what is left of a run that was killed."""
        kinds = "modeldeployments,modelruntimes"
        self._kubectl("delete", kinds, "--all", "--timeout=60s")
        self._kubectl("wait", "rayclusters", "--all", "--for=delete", "--timeout=100s")
        for left in self._kubectl("get", f"{kinds},rayclusters", "-o", "name").split():  # of a run that was killed
            self._kubectl("patch", left, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        helm(self.node, "uninstall", RELEASE, "--ignore-not-found", namespace=self.namespace)
        self.node.end_namespace(self.namespace)
        volumes = [  # the namespace does not take them along
            item["metadata"]["name"]
            for item in self.node.list("persistentvolumes")
            if item["spec"].get("claimRef", {}).get("namespace") == self.namespace
        ]
        if volumes:
            self.node.kubectl("delete", "persistentvolume", *volumes)

    def _kubectl(self, *arguments: str) -> str:
        """Whatever it says, where kinds may be unknown and objects gone."""
        return self.node.kubectl(*arguments, namespace=self.namespace, check=False)

    # --- people -------------------------------------------------------------------------------------------------------

    def register_versions(self) -> dict[str, str]:
        """Registers three adapters in a pod; their version numbers by name."""
        shutil.copytree(adapters(), self.data / "adapters")
        for path in (self.data / "adapters").rglob("*"):
            os.chown(path, USER, USER)
        volumes, mounts = python_volumes()
        name = "register-versions"
        environment = {**python_environment(), "TIDEGATE_CACHE": f"{DATA}/cache", "TIDEGATE_HOME": "/tmp/tidegate"}  # noqa: S108
        environment["TIDEGATE_ATTESTATION_KEY_PATH"] = "/etc/attestation/attestation.key"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": _REGISTERS},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": POD_SECURITY,
                "containers": [
                    {
                        "name": "register",
                        "image": BASE_IMAGE,
                        "command": ["python", "-m", "tests.cluster.register_versions", f"{DATA}/adapters"],
                        "envFrom": [{"configMapRef": {"name": f"{RELEASE}-platform"}}],
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},  # without, all others come first
                        "env": [{"name": key, "value": value} for key, value in environment.items()],
                        "securityContext": CONTAINER_SECURITY,
                        "volumeMounts": [
                            *mounts,
                            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                            {"name": "data", "mountPath": DATA},
                            {"name": "attestation", "mountPath": "/etc/attestation", "readOnly": True},
                        ],
                    }
                ],
                "volumes": [
                    *volumes,
                    {"name": "tmp", "emptyDir": {}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "tidegate-data"}},
                    {"name": "attestation", "secret": {"secretName": "tidegate-attestation"}},
                ],
            },
        }
        self.node.apply(pod, namespace=self.namespace)
        self.node.until("the versions are registered", lambda: self._ended(name), seconds=400, told=self.story)
        printed = self.node.kubectl("logs", name, namespace=self.namespace)
        assert self.node.get("pod", name, self.namespace)["status"]["phase"] == "Succeeded", printed[-3000:]
        self.node.kubectl("delete", "pod", name, "--wait=false", namespace=self.namespace)
        found: dict[str, str] = json.loads(printed.strip().splitlines()[-1])
        return found

    def nominate(self, number: str) -> None:
        """As a person does it in MLflow."""
        alias = {"name": MODEL, "alias": "challenger", "version": number}
        url = f"{self.url('mlflow')}/api/2.0/mlflow/registered-models/alias"
        httpx.post(url, json=alias, trust_env=False, timeout=30).raise_for_status()

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        self.node.apply(*manifests, namespace=self.namespace)

    def keys(self) -> dict[str, str]:
        """API keys of the gateway by name."""
        return ensure_default_keys(self.home / "api-keys.yaml")

    def driver(self) -> TrafficDriver:
        keys = self.keys()
        return TrafficDriver(
            self.url("gateway"), keys["app"], NAME, label_key=keys["labeller"], concurrency=6, label_delay=0.2
        )

    # --- looking ------------------------------------------------------------------------------------------------------

    def url(self, component: str) -> str:
        return self.node.service_url(f"{RELEASE}-{component}", self.namespace)

    def wait_for_gateway(self) -> None:
        """Until it is ready; a probe gives the engines one second, which busy ones may exceed."""
        ready = f"{self.url('gateway')}/readyz"

        def look() -> bool:
            try:
                return httpx.get(ready, trust_env=False, timeout=30).is_success
            except httpx.TransportError:
                return False

        self.node.until("the gateway is ready", look)

    def status(self) -> Json:
        found: Json = self.node.get("modeldeployment", NAME, self.namespace).get("status") or {}
        return found

    def until(self, what: str, holds: Any, seconds: float = 240) -> Json:
        """The deployment's status once `holds(status)`."""

        def look() -> Json | None:
            status = self.status()
            return status if holds(status) else None

        found: Json = self.node.until(what, look, seconds, told=self.story)
        return found

    def phase(self, *phases: str, seconds: float = 240) -> Json:
        return self.until(f"phase {' or '.join(phases)}", lambda status: status.get("phase") in phases, seconds)

    def pods(self) -> dict[str, int]:
        """Restarts by pod, of what runs."""
        return {
            pod["metadata"]["name"]: sum(state["restartCount"] for state in pod["status"].get("containerStatuses", []))
            for pod in self.node.list("pods", self.namespace)
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    def story(self) -> str:
        told = {key: self.status().get(key) for key in ("phase", "step", "pairs", "reason", "message", "conditions")}
        log = self.node.kubectl(
            "logs", f"deployment/{RELEASE}-operator", "--tail=40", namespace=self.namespace, check=False
        )
        return "\n".join([json.dumps(told, indent=1), self.node.story(self.namespace), log])

    def _ended(self, pod: str) -> bool:
        return self.node.get("pod", pod, self.namespace).get("status", {}).get("phase") in {"Succeeded", "Failed"}


def runtime() -> Json:
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "ModelRuntime",
        "metadata": {"name": RUNTIME},
        "spec": {
            "baseModel": {"uri": BASE},
            "engine": {"type": "Transformers", "maxAdapters": 4, "maxModelLength": 256},
            "placement": {"nodePool": "local"},
        },
    }


def secret(name: str, data: Mapping[str, bytes]) -> Json:
    """A Secret's manifest."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


def manifests(path: Path) -> list[Json]:
    return [item for item in yaml.safe_load_all(path.read_text()) if item]
