"""The real Helm, and a real API server that knows every kind the chart may render."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.chart.charts import Helm
from tests.kube_api import ROOT, KubeApi
from tests.kube_fixtures import install, kube, namespace

__all__ = ["cluster", "helm", "kube", "namespace"]

_NO_PROGRAM = 3
"""What hack/helm/build.sh exits with when there is no Go to build Helm with."""


@pytest.fixture(scope="session")
def helm() -> Helm:
    made = subprocess.run([ROOT / "hack" / "helm" / "build.sh"], capture_output=True, text=True, check=False)
    if made.returncode == _NO_PROGRAM:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr[-4000:]
    return Helm(Path(made.stdout.strip()))


@pytest.fixture(scope="session")
def cluster(kube: KubeApi) -> KubeApi:
    """The API server with the definitions of KubeRay, Prometheus' operator and the Gateway API, too."""
    folder = Path(os.environ.get("TIDEGATE_CRDS", ROOT.parent / "shared" / "crds"))
    files = sorted(folder.glob("*.yaml"))
    if not files:
        pytest.skip(
            "no definitions of KubeRay, Prometheus' operator and the Gateway API: name their folder in TIDEGATE_CRDS"
        )
    install(kube, *files)
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "serving"},
        "value": 1000,
    }
    kube.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", priority)
    return kube
