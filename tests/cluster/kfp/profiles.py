"""Kubeflow Pipelines for many users on the one-node cluster: who its people are, and how they ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.helm import program
from tests.cluster.kfp.backend import Backend, script
from tests.integration.chart.charts import Helm, merged
from tests.integration.chart.value_sets import VALUE_SETS
from tests.kube_rights import access_review
from tidegate.adapters.kfp_client import KfpApi
from tidegate.ids import new_id
from tidegate.kfp_settings import KfpSettings

AUDIENCE = "pipelines.kubeflow.org"
"""Of the tokens that its API server reviews."""
PROFILE, OTHER_PROFILE = "team-a", "team-b"
EDITOR, VIEWER, STRANGER = "default-editor", "default-viewer", "default"
"""Service accounts of the profile. Only the group of all of them gives the last one rights, and KFP asks by name."""
USER = "anna@example.com"
"""Whom a RoleBinding of the profile names."""
USER_HEADER = "kubeflow-userid"
RECEIVER = "tidegate-receiver"
_ACCESS = {"ServiceAccount", "Role", "RoleBinding"}


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """The API, and a folder for secrets."""

    backend: Backend
    url: str
    folder: Path

    def token(self, account: str, audience: str = AUDIENCE, namespace: str = PROFILE) -> Path:
        """A file with a token of an account, by the request that a kubelet makes to project one."""
        made = self.backend.node.kubectl("create", "token", account, f"--audience={audience}", namespace=namespace)
        return self._file(made)

    def release(self, namespace: str) -> None:
        """The receiver's account in a namespace, and what the chart lets it do in the profile."""
        kfp = {"url": self.url, "authentication": "serviceAccountToken"}
        values = merged(VALUE_SETS["base"], {"kfp": kfp, "pipelines": {"namespaces": [PROFILE]}})
        found = Helm(program()).render(values, namespace=namespace)
        mine = [item for item in found if item["metadata"]["name"] == RECEIVER and item["kind"] in _ACCESS]
        self.backend.node.apply(*mine)
        self.backend.node.until("its rights are in force", lambda: self._may_create_runs(namespace))

    def _may_create_runs(self, namespace: str) -> bool:
        """`kubectl auth can-i` asks of no resource that the API server itself does not have."""
        receiver = f"system:serviceaccount:{namespace}:{RECEIVER}"
        review = access_review(receiver, ("pipelines.kubeflow.org", "runs"), "create", PROFILE)
        said = ("create", "-f", "-", "-o", "jsonpath={.status.allowed}")
        return self.backend.node.kubectl(*said, stdin=json.dumps(review)) == "true"

    def open(self, **settings: Any) -> KfpApi:
        """The API in the profile."""
        return KfpApi(KfpSettings.model_validate({"url": self.url, "namespace": PROFILE, **settings}))

    def as_user(self, name: str) -> KfpApi:
        """As an authenticating proxy asks for a person."""
        return self.open(header_name=USER_HEADER, header_value_path=self._file(name))

    def _file(self, secret: str) -> Path:
        path = self.folder / new_id()
        path.touch(mode=0o600)
        path.write_text(secret)
        return path


@contextmanager
def profiles(backend: Backend, folder: Path) -> Iterator[Profiles]:
    """Beside the installation without users, for as long as it is needed."""
    try:
        yield Profiles(backend=backend, url=script("hack/kfp/profiles.sh", "up").splitlines()[-1], folder=folder)
    finally:
        script("hack/kfp/profiles.sh", "down")
