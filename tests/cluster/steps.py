"""A pipeline step's pod without Kubeflow Pipelines, whose images and parts take gigabytes."""

from __future__ import annotations

from pipelines.packages import ENV_FOLDER
from pipelines.site import Site
from tests.cluster.installation import RELEASE
from tests.cluster.machine import images_here
from tests.cluster.node import CONTAINER_SECURITY, POD_SECURITY, USER, Json
from tidegate.environment import FOLDERS_VARIABLE


def step(program: str) -> Json:
    """The pod "step", as pipelines/packages.py has it: ConfigMap and Secret are files, and become variables."""
    site = Site()
    folders = {
        site.environment.files: {"secret": {"secretName": site.environment.secret}},
        ENV_FOLDER: {"configMap": {"name": f"{RELEASE}-pipelines-env"}},
    }
    image = images_here()["image"]
    container = {
        "name": "step",
        "image": f"{image['registry']}/{image['repository']}/operator:{image['tag']}",
        "imagePullPolicy": "Never",
        "command": ["python", "-c", f"from tidegate.environment import take_folders; take_folders()\n{program}"],
        "env": [{"name": FOLDERS_VARIABLE, "value": ":".join(folders)}],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            *({"name": f"folder-{number}", "mountPath": path} for number, path in enumerate(folders)),
        ],
    }
    volumes = [{"name": f"folder-{number}", **source} for number, source in enumerate(folders.values())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "step"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {**POD_SECURITY, "runAsUser": USER, "fsGroup": USER},
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
        },
    }
