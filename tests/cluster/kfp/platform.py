"""What tidegate needs in the namespace of the runs, under the names that the chart uses, and a real MLflow beside it.

The pods' Python is this machine's, read-only. One more folder, which all of them may write, stands for the object
store and holds the SQLite database.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster.helm import rendered
from tests.cluster.installation import ONE_NODE
from tests.cluster.kfp.backend import NAMESPACE, Backend
from tests.cluster.node import BASE_IMAGE, folder_claims, python_environment, python_folders
from tidegate.adapters.mlflow_server import mlflow_environment
from tidegate.attestation import load_or_create_key

RELEASE = "tidegate"
_MLFLOW_PORT = 5000
_POOL = "cpu"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The folder that host and pods share, under one path, and what commands on the host are told."""

    data: Path
    site: Path
    environment: Mapping[str, str]


def install(backend: Backend, data: Path) -> Platform:
    """Everything but the runs; what is there is changed to what it has to be."""
    for folder in (data, data / "artifacts", data / "inference-log", data / "mlflow", data / "cache"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods run as another user
    load_or_create_key(data / "attestation.key")
    environment = _environment(data)
    folders = {**python_folders(), _claim(data): data}
    backend.node.apply(
        *folder_claims(NAMESPACE, python_folders()),
        *folder_claims(NAMESPACE, {_claim(data): data}, ("ReadWriteMany",)),
        _config_map(f"{RELEASE}-pipelines-env", {**environment, **python_environment()}),
        _config_map(f"{RELEASE}-node-pools", {"node-pools.yaml": yaml.safe_dump(_pools(folders))}),
        _secret(environment["TIDEGATE_DATABASE_URL"], (data / "attestation.key").read_bytes()),
        *_accounts(),
        *_policies(),
        *_mlflow(data, folders),
    )
    backend.kubectl("rollout", "status", f"deployment/{RELEASE}-mlflow", "--timeout=180s")
    address = backend.kubectl("get", "service", f"{RELEASE}-mlflow", "-o", "jsonpath={.spec.clusterIP}")
    site = data / "site.yaml"
    site.write_text(yaml.safe_dump(_site(folders)), encoding="utf-8")
    there = {
        "TIDEGATE_MLFLOW_URI": f"http://{address}:{_MLFLOW_PORT}",
        "TIDEGATE_KFP__URL": backend.api,
        "TIDEGATE_HOME": str(data / "home"),
        "TIDEGATE_ATTESTATION_KEY_PATH": str(data / "attestation.key"),
        "KUBECONFIG": str(backend.node.kubeconfig),
    }
    return Platform(data=data, site=site, environment={**environment, **there})


def _policies() -> list[Any]:
    """Those that the chart puts into the namespaces of runs: training goes on behind them."""
    made = rendered("network/policies.yaml", ONE_NODE, f"pipelines.namespaces={{{NAMESPACE}}}")
    found = [item for item in made if item["metadata"]["namespace"] == NAMESPACE]
    assert [item["metadata"]["name"] for item in found] == [f"{RELEASE}-training"]
    return found


def _environment(data: Path) -> dict[str, str]:
    nowhere = "http://nowhere.invalid"  # the profile has no defaults; nothing in these pipelines asks them
    return {
        "TIDEGATE_PROFILE": "cluster",
        "TIDEGATE_CLUSTER__NAMESPACE": NAMESPACE,
        "TIDEGATE_DATABASE_URL": f"sqlite:///{data / 'tidegate.db'}",
        "TIDEGATE_ARTIFACTS_URI": (data / "artifacts").as_uri(),
        "TIDEGATE_DRIFT__MIN_ROWS": "20",  # the first version was tested on some forty
        "TIDEGATE_INFERENCE_LOG__URI": (data / "inference-log").as_uri(),
        "TIDEGATE_MLFLOW_URI": f"http://{RELEASE}-mlflow.{NAMESPACE}:{_MLFLOW_PORT}",
        "TIDEGATE_RAY_ADDRESS": "nowhere.invalid:6379",
        "TIDEGATE_RAY_DASHBOARD_URL": nowhere,
        "TIDEGATE_ENGINE_URL": nowhere,
        "TIDEGATE_GATEWAY_URL": nowhere,
        "TIDEGATE_RECEIVER_URL": nowhere,
    }


def _site(folders: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "release": RELEASE,
        "images": {"pipelineData": BASE_IMAGE, "train": BASE_IMAGE, "pullPolicy": "Never"},
        "environment": {"variables": python_environment()},
        "claims": [{"name": name, "mountPath": str(folder)} for name, folder in folders.items()],
        "training": {"nodePool": _POOL, "ttlSeconds": 5},  # a failed job's pod would keep its share of two cores
        # One more try, at once: what fails here for good is shown to fail, not waited for.
        "defaults": {
            "resources": {"cpu": "100m", "memory": "3Gi"},
            "retries": {"count": 1, "backoffSeconds": 1},
        },
    }


def _pools(folders: Mapping[str, Path]) -> dict[str, Any]:
    volumes, mounts = _volumes(folders)
    return {
        _POOL: {"cpu": "250m", "memory": "6Gi", "sharedMemory": "512Mi", "volumes": volumes, "volumeMounts": mounts}
    }


def _volumes(folders: Mapping[str, Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in folders]
    return volumes, [{"name": name, "mountPath": str(folder)} for name, folder in folders.items()]


def _claim(data: Path) -> str:
    """Of the shared folder, which is another one in every session: a volume cannot be pointed elsewhere later."""
    return f"data-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"


def _accounts() -> list[dict[str, Any]]:
    """The step pods' account gets what following a RayJob needs; that of the training pods gets nothing."""
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "list", "watch", "create", "delete"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
        {"apiGroups": ["tidegate.dev"], "resources": ["modelroutings"], "verbs": ["get"]},
    ]
    name = f"{RELEASE}-pipelines"
    role = {"apiGroup": rbac, "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": NAMESPACE}]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(f"{RELEASE}-training")},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": _metadata(name), "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": _metadata(name),
            "roleRef": role,
            "subjects": subjects,
        },
    ]


def _mlflow(data: Path, folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    name = f"{RELEASE}-mlflow"
    folder = data / "mlflow"
    volumes, mounts = _volumes(folders)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "0.0.0.0",  # noqa: S104 - all addresses of a pod
        "--port",
        str(_MLFLOW_PORT),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--no-serve-artifacts"]
    command += ["--default-artifact-root", str(folder / "artifacts")]
    variables = {**python_environment(), **mlflow_environment(), "MLFLOW_SERVER_ALLOWED_HOSTS": "*"}
    container = {
        "name": "mlflow",
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": command,
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "readinessProbe": {"httpGet": {"path": "/health", "port": _MLFLOW_PORT}, "periodSeconds": 1},
        "volumeMounts": mounts,
    }
    label = {"app": name}
    pod = {
        "metadata": {"labels": label},
        "spec": {"automountServiceAccountToken": False, "containers": [container], "volumes": volumes},
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(name),
            "spec": {"selector": {"matchLabels": label}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(name),
            "spec": {"selector": label, "ports": [{"port": _MLFLOW_PORT}]},
        },
    ]


def _config_map(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(name), "data": dict(data)}


def _secret(database: str, key: bytes) -> dict[str, Any]:
    values = {"TIDEGATE_DATABASE_URL": database.encode(), "attestation.key": key}
    encoded = {name: base64.b64encode(value).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(f"{RELEASE}-pipelines"), "data": encoded}


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE}


def nominated(platform: Platform, model: str) -> dict[str, Any]:
    """The version with the alias `challenger`, as the registry has it."""
    with httpx.Client(trust_env=False, base_url=platform.environment["TIDEGATE_MLFLOW_URI"], timeout=30) as client:
        query = {"name": model, "alias": "challenger"}
        answer = client.get("/api/2.0/mlflow/registered-models/alias", params=query).raise_for_status()
    found: dict[str, Any] = answer.json()["model_version"]
    return found


def remove(backend: Backend, platform: Platform) -> None:
    """The runs' pods, MLflow, and the volumes: another session may come from another folder."""
    names = [*python_folders(), _claim(platform.data)]
    backend.kubectl("delete", "deployment", f"{RELEASE}-mlflow", "--ignore-not-found")
    backend.kubectl("delete", "rayjobs,workflows.argoproj.io", "--all")
    backend.kubectl("delete", "persistentvolumeclaim", "--ignore-not-found", "--timeout=90s", *names)
    backend.kubectl("delete", "persistentvolume", "--ignore-not-found", *(f"{NAMESPACE}-{name}" for name in names))
