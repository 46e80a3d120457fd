"""A real API server with KubeRay's definitions, and a stand-in that carries RayJobs out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube_api import KubeApi
from tests.kube_fixtures import kube, kuberay, namespace
from tests.kuberay_jobs import RayJobStandIn
from tidegate.attestation import load_or_create_key
from tidegate.settings import Settings

__all__ = ["kube", "kuberay", "namespace"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    load_or_create_key(tmp_path / "attestation.key")
    names = ("MLFLOW_URI", "RAY_DASHBOARD_URL", "ENGINE_URL", "GATEWAY_URL", "RECEIVER_URL")
    return {
        **{f"TIDEGATE_{name}": "http://nowhere.invalid" for name in names},
        "TIDEGATE_PROFILE": "cluster",
        "TIDEGATE_RAY_ADDRESS": "nowhere.invalid:1",
        "TIDEGATE_HOME": str(tmp_path / "home"),
        "TIDEGATE_ATTESTATION_KEY_PATH": str(tmp_path / "attestation.key"),
        "TIDEGATE_DATABASE_URL": "sqlite://",
        "TIDEGATE_ARTIFACTS_URI": (tmp_path / "artifacts").as_uri(),
        "TIDEGATE_INFERENCE_LOG__URI": str(tmp_path / "log"),
    }


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    jobs = {"image": "train:1", "node_pool": "cpu", "poll_seconds": 0.1, "pending_seconds": 60}
    return Settings.model_validate({"jobs": jobs})


@pytest.fixture
def operator(kuberay: KubeApi, namespace: str, environment: dict[str, str], tmp_path: Path) -> Iterator[RayJobStandIn]:
    logs = tmp_path / "rayjobs"
    logs.mkdir()
    with RayJobStandIn(kuberay, namespace, environment, logs) as made:
        yield made
        assert made.problems == []
