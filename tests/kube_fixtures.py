"""Fixtures with a real API server. A conftest.py takes them over by importing them:

    from tests.kube_fixtures import kube, kuberay, namespace

Without Go and without built programs the tests that use them are skipped, and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from tests.kube_api import ROOT, KubeApi, ProgramsMissing, kube_programs

__all__ = ["install_tidegate", "kube", "kuberay", "kuberay_definitions", "namespace"]

_GROUP = "tidegate.dev"
_TAKES_EFFECT_WITHIN = 60.0


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server with tidegate's definitions and admission policies. It is shared: leave it running."""
    with KubeApi(tmp_path_factory.mktemp("kube") / "api", programs_or_skip()) as api:
        install_tidegate(api)
        yield api


@pytest.fixture
def namespace(kube: KubeApi) -> str:
    """A namespace of the test's own."""
    return kube.make_namespace()


@pytest.fixture(scope="session")
def kuberay(kube: KubeApi) -> KubeApi:
    """The API server with KubeRay's definitions, too."""
    files = kuberay_definitions()
    if not files:
        pytest.skip("no definitions of KubeRay: name their folder in TIDEGATE_CRDS, or have its Go module")
    install(kube, *files)
    return kube


def programs_or_skip() -> Path:
    """The folder of the programs; a test that cannot have them is skipped."""
    try:
        return kube_programs()
    except ProgramsMissing as error:
        pytest.skip(str(error))


def install_tidegate(api: KubeApi) -> None:
    """Definitions, admission policies, and the rights of the users `operator`, `alice` and `bob`."""
    install(api, *sorted((ROOT / "helm" / "tidegate" / "files" / "crds").glob("*.yaml")))
    api.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(_rights()))
    api.kubectl("apply", "--server-side", "-f", str(ROOT / "helm" / "tidegate" / "files" / "admission.yaml"))
    _wait_for_policies(api)


def install(api: KubeApi, *definitions: Path) -> None:
    """Installs custom resource definitions, one a file, and waits until their objects can be made.

    Server-side, because KubeRay's exceed what client-side apply can remember. Their names are found as text: to parse
    them takes seconds.
    """
    api.kubectl("apply", "--server-side", *(part for path in definitions for part in ("-f", str(path))))
    heads = [re.search(r"^  name: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE) for path in definitions]
    names = {head.group(1) for head in heads if head is not None}
    _wait_for(lambda: names <= _discovered(api).keys(), f"the API server does not list {', '.join(sorted(names))}")
    # What is listed is not yet served: the first who want all objects are told "storage is (re)initializing".
    found = _discovered(api)
    for path in sorted(path for name in names for path in found[name]):
        _wait_for(partial(_serves, api, path), f"the API server does not serve {path}")
    shutil.rmtree(api.folder / "cache", ignore_errors=True)  # kubectl remembers for minutes what there was


def kuberay_definitions() -> list[Path]:
    """KubeRay's definitions, where they are: in TIDEGATE_CRDS, beside the clone, or in Go's module folder."""
    folders = [Path(os.environ.get("TIDEGATE_CRDS", ROOT.parent / "shared" / "crds"))]
    if go := shutil.which("go"):
        cache = subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
        folders += sorted(Path(cache, "github.com", "ray-project", "kuberay").glob("ray-operator@*/config/crd/bases"))
    wanted = [f"ray.io_{name}.yaml" for name in ("rayclusters", "rayjobs", "rayservices")]
    for folder in folders:
        if all((folder / name).is_file() for name in wanted):
            return [folder / name for name in wanted]
    return []


def _rights() -> list[object]:
    """Of the tests' users; those of an installation are the chart's."""
    look = ["get", "list", "watch"]
    write = [*look, "create", "update", "patch", "delete"]
    ours = {"apiGroups": [_GROUP], "resources": ["*"]}
    roles = {
        "tidegate:people": [
            {**ours, "verbs": look},
            {"apiGroups": [_GROUP], "resources": ["modelruntimes", "modeldeployments"], "verbs": write},
            {"apiGroups": [_GROUP], "resources": ["rolloutactions"], "verbs": ["create", "delete"]},
        ],
        "tidegate:operators": [
            {**ours, "verbs": write},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": write},
            {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": look},
            {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": look},
            {"apiGroups": ["ray.io"], "resources": ["*"], "verbs": write},
        ],
    }
    rbac = "rbac.authorization.k8s.io"
    made: list[object] = []
    for name, rules in roles.items():
        head = {"apiVersion": f"{rbac}/v1", "metadata": {"name": name}}
        subject = {"apiGroup": rbac, "kind": "Group", "name": name}
        made.append({**head, "kind": "ClusterRole", "rules": rules})
        reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": name}
        made.append({**head, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]})
    return made


def _wait_for_policies(api: KubeApi) -> None:
    """A new policy is taken up a moment after the answer: until it refuses a name that is not one's own."""
    action = {
        "apiVersion": f"{_GROUP}/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"name": "probe"},
        "spec": {"deployment": "probe", "action": "Pause", "requestedBy": "nobody"},
    }
    deployment = {
        "apiVersion": f"{_GROUP}/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "probe", "annotations": {f"{_GROUP}/requested-by": "nobody"}},
        "spec": {
            "runtimeRef": {"name": "probe"},
            "model": {"name": "probe", "source": {"type": "Version", "version": "1"}},
            "rollout": {
                "steps": [{"name": "all", "weight": 100}],
                "metrics": [
                    {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePercent": 1}
                ],
            },
        },
    }
    for plural, body in (("rolloutactions", action), ("modeldeployments", deployment)):
        path = f"/apis/{_GROUP}/v1alpha1/namespaces/default/{plural}?dryRun=All"

        def refuses(path: str = path, body: object = body) -> bool:
            return api.request("POST", path, body).status_code == httpx.codes.FORBIDDEN

        _wait_for(refuses, f"the policy on {plural} does not take effect")


def _serves(api: KubeApi, path: str) -> bool:
    return api.request("GET", path).is_success


def _discovered(api: KubeApi) -> dict[str, list[str]]:
    """What kubectl would find now: plural.group, and the paths of its versions."""
    with api.client() as client:
        aggregated = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
        groups = client.get("/apis", headers=aggregated).json()["items"]
    paths: dict[str, list[str]] = {}
    for group in groups:
        name = group["metadata"]["name"]
        for version in group["versions"]:
            for found in version["resources"]:
                path = f"/apis/{name}/{version['version']}/{found['resource']}"
                paths.setdefault(f"{found['resource']}.{name}", []).append(path)
    return paths


def _wait_for(holds: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _TAKES_EFFECT_WITHIN
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{problem} within {_TAKES_EFFECT_WITHIN:.0f} s")
        time.sleep(0.05)
