"""This machine as a place where tidegate runs: images that are built here, its Python for engines, sizes for two cores.

Operator, gateway, scorer, receiver and MLflow run their own images. Ray's pods mount this machine's Python read-only:
an image with torch would cost gigabytes to make and to load.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

from tests.cluster.node import BASE_IMAGE, ROOT, Json, python_environment, python_volumes

ROLES = ("operator", "receiver", "mlflow")
HEAD = {"cpu": "200m", "memory": "2Gi"}
"""Of a Ray head."""
SMALL = {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}}
"""Of a component: two cores carry them all."""
API_SERVER: Json = {"apiServerPorts": [26443]}
"""Of networkPolicy: where the node's listens, behind its Service."""


def version() -> str:
    """Of the project: the tag of its images."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def build_images() -> list[Path]:
    """The archives of the roles that the platform runs; built when their sources changed."""
    built = subprocess.run(
        [ROOT / "hack" / "images" / "build.sh", "--archive", *ROLES],
        env={**os.environ, "BASE_IMAGE": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
    kept = os.environ.get("ARCHIVES") or Path.home() / ".cache" / "tidegate" / "images" / version()
    return [Path(kept) / f"{role}.tar" for role in ROLES]


def images_here() -> Json:
    """The chart's values for them; engines run in an image without Python, which their pool brings."""
    registry, _, repository = os.environ.get("IMAGE_PREFIX", "localhost/tidegate").partition("/")
    base, _, tag = BASE_IMAGE.partition(":")
    return {
        "image": {"registry": registry, "repository": repository, "tag": version(), "pullPolicy": "Never"},
        "images": {"serve": {"name": base, "tag": tag}},
    }


def pool_here() -> Json:
    """A node pool of this machine's size, whose pods run this machine's Python."""
    volumes, mounts = python_volumes()
    return {
        "cpu": "400m",
        "memory": "3Gi",
        "sharedMemory": "512Mi",
        "topologyKey": None,
        "volumes": volumes,
        "volumeMounts": mounts,
        "env": {**python_environment(), "OMP_NUM_THREADS": "2"},
    }


def start_kuberay() -> None:
    done = subprocess.run([ROOT / "hack" / "kuberay" / "up.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
