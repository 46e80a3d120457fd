"""A release on PostgreSQL, S3 and Redis by TLS beside Kubeflow Pipelines, and what a platform team adds to it.

Docs/cluster.md, steps 2 and 3: the release has a namespace of its own, and the chart writes what steps need into that
of the runs. Operator, gateway and scorer are scaled away once they were ready: two cores have a training to carry, and
who serves is said by the tests themselves (served.py). The pods' Python is this machine's, read-only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from tests.cluster import documented, helm
from tests.cluster.installation import RELEASE, Installation, secret
from tests.cluster.kfp.backend import NAMESPACE, Backend
from tests.cluster.machine import pool_here
from tests.cluster.node import BASE_IMAGE, folder_claims, python_environment, python_folders
from tests.cluster.services import Services, machine_values, prepared

POOL = "cpu"
DEPLOYMENT = "intent-assistant"
_NAMESPACE = "tidegate-pipelines"
_AWAY = ("operator", "gateway", "scorer")
_KFP = f"http://ml-pipeline.{NAMESPACE}:8888"
RETRAININGS = {"*": {"max_steps": 30, "seed": 3}, DEPLOYMENT: {"max_steps": 24}}
"""Parameters of what the receiver starts."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What is installed, and what commands on this machine are told of it."""

    installation: Installation
    data: Path
    """A folder that this machine and the runs' pods see under the same path."""
    site: Path
    environment: Mapping[str, str]


def install(backend: Backend, stands_on: Services, folder: Path) -> Platform:
    """Everything but the runs."""
    home = folder / "home"
    home.mkdir()
    made = prepared(backend.node, stands_on, _NAMESPACE, home)
    data = folder / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)  # pods run as another user
    folders = {**python_folders(), _claim(data): data}
    backend.node.apply(
        *folder_claims(NAMESPACE, python_folders()),
        *folder_claims(NAMESPACE, {_claim(data): data}, ("ReadWriteMany",)),
        _secret(made, stands_on),
    )
    values = [documented.values(), machine_values(stands_on), _values(stands_on, folders)]
    done = helm.install(backend.node, RELEASE, made.namespace, values, made.home)
    assert done.returncode == 0, done.stderr + backend.node.story(made.namespace)
    for component in _AWAY:
        backend.node.kubectl("scale", f"deployment/{RELEASE}-{component}", "--replicas=0", namespace=made.namespace)
    site = folder / "site.yaml"
    site.write_text(yaml.safe_dump(_site(folders)), encoding="utf-8")
    return Platform(installation=made, data=data, site=site, environment=_environment(backend, stands_on, made, folder))


def _values(stands_on: Services, folders: Mapping[str, Path]) -> dict[str, Any]:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in folders]
    mounts = [{"name": name, "mountPath": str(path)} for name, path in folders.items()]
    pool = {**pool_here(), "cpu": "250m", "memory": "6Gi", "volumes": volumes, "volumeMounts": mounts}
    return {
        "gpuNodePools": {POOL: pool},
        "pipelines": {"namespaces": [NAMESPACE]},
        "kfp": {"url": _KFP},
        "networkPolicy": {"externalPorts": [urlsplit(url).port for url in (stands_on.minio.url, _KFP)]},
        "settings": {"TIDEGATE_DRIFT__MIN_ROWS": "20"},  # the first version was tested on some forty
        "receiver": {
            "extraEnv": [{"name": "TIDEGATE_RETRAINING__PARAMETERS", "value": json.dumps(RETRAININGS)}],
        },
    }


def _secret(made: Installation, stands_on: Services) -> dict[str, Any]:
    """`tidegate-pipelines`, with the keys that docs/cluster.md and docs/chart.md (TLS) name."""
    keys = {name: stands_on.minio.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    values = {
        "attestation.key": made.value("secret", "tidegate-attestation", "attestation.key"),
        "receiver.token": made.receiver_token(),
        "TIDEGATE_DATABASE_URL": stands_on.database_url("tidegate"),
        "FEAST_REDIS_PASSWORD": stands_on.redis.password,
        "ca.crt": stands_on.authority.file.read_text(),
        **keys,
    }
    body = secret(f"{RELEASE}-pipelines", {name: value.encode() for name, value in values.items()})
    return body | {"metadata": {**body["metadata"], "namespace": NAMESPACE}}


def _environment(backend: Backend, stands_on: Services, made: Installation, folder: Path) -> dict[str, str]:
    """What the chart tells the steps, but for paths and addresses that are others on this machine."""
    config = backend.node.get("configmap", f"{RELEASE}-pipelines-env", NAMESPACE)["data"]
    of_pods = ("TIDEGATE_KFP__", "/")  # people name a profile and an account of theirs, or none
    told = {
        name: value
        for name, value in config.items()
        if "\n" not in value and not name.startswith(of_pods) and not value.startswith(of_pods)
    }
    key = folder / "attestation.key"
    key.write_text(made.value("secret", "tidegate-attestation", "attestation.key"))
    key.chmod(0o600)
    return {
        **told,
        **stands_on.minio.environment,
        **stands_on.trusted,
        "TIDEGATE_DATABASE_URL": stands_on.database_url("tidegate"),
        "TIDEGATE_MLFLOW_URI": made.url("mlflow"),
        "TIDEGATE_RECEIVER_URL": made.url("receiver"),
        "TIDEGATE_KFP__URL": backend.api,
        "TIDEGATE_HOME": str(folder / "commands"),
        "TIDEGATE_ATTESTATION_KEY_PATH": str(key),
        "KUBECONFIG": str(backend.node.kubeconfig),
    }


def _site(folders: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "release": RELEASE,
        "images": {"pipelineData": BASE_IMAGE, "train": BASE_IMAGE, "pullPolicy": "Never"},
        "environment": {"variables": python_environment()},
        "claims": [{"name": name, "mountPath": str(folder)} for name, folder in folders.items()],
        "training": {"nodePool": POOL, "ttlSeconds": 5},  # a failed job's pod would keep its share of two cores
        # One more try, at once: what fails here for good is shown to fail, not waited for.
        "defaults": {
            "resources": {"cpu": "100m", "memory": "3Gi"},
            "retries": {"count": 1, "backoffSeconds": 1},
        },
    }


def _claim(data: Path) -> str:
    """Of the shared folder, which is another one in every session: a volume cannot be pointed elsewhere later."""
    return f"data-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"


def nominated(platform: Platform, model: str) -> dict[str, Any]:
    """The version with the alias `challenger`, as the registry has it."""
    with httpx.Client(trust_env=False, base_url=platform.environment["TIDEGATE_MLFLOW_URI"], timeout=30) as client:
        query = {"name": model, "alias": "challenger"}
        answer = client.get("/api/2.0/mlflow/registered-models/alias", params=query).raise_for_status()
    found: dict[str, Any] = answer.json()["model_version"]
    return found


def remove(backend: Backend, platform: Platform) -> None:
    """The runs' pods, the release, and the volumes: another session may come from another folder."""
    names = [*python_folders(), _claim(platform.data)]
    backend.kubectl("delete", "rayjobs,workflows.argoproj.io", "--all")
    platform.installation.remove()
    backend.kubectl("delete", "secret", f"{RELEASE}-pipelines", "--ignore-not-found")
    backend.kubectl("delete", "persistentvolumeclaim", "--ignore-not-found", "--timeout=90s", *names)
    backend.kubectl("delete", "persistentvolume", "--ignore-not-found", *(f"{NAMESPACE}-{name}" for name in names))
