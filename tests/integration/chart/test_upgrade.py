"""An upgrade by the real Helm on a real API server keeps data and brings the definitions along (H4)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import documented
from tests.integration.chart.charts import CHART, Helm, merged
from tests.integration.chart.value_sets import LOCAL, NOTHING_CLUSTER_WIDE
from tests.kube_api import ROOT, KubeApi

pytestmark = pytest.mark.integration


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart as a release before this one had it: another version, definitions that lack a field, fewer values."""
    chart = tmp_path / "tidegate"
    shutil.copytree(CHART, chart)
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    described |= {"version": "0.0.9", "appVersion": "0.0.9"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(described))
    definition = chart / "files" / "crds" / "tidegate.dev_modelruntimes.yaml"
    body = yaml.safe_load(definition.read_text())
    del body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rayVersion"]
    definition.write_text(yaml.safe_dump(body))
    return chart


@pytest.fixture
def own_cluster(cluster: KubeApi, tmp_path: Path) -> Iterator[tuple[KubeApi, Path]]:
    """The definitions as Helm finds them on a cluster that has none of ours; afterwards all are as they were."""
    namespace = cluster.make_namespace("release")
    try:
        yield cluster, cluster.kubeconfig("admin", namespace)
    finally:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHART / "files" / "crds"))
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHART / "files" / "admission.yaml"))


def test_an_upgrade_keeps_data_and_brings_the_definitions_along(
    helm: Helm, own_cluster: tuple[KubeApi, Path], previous: Path
) -> None:
    cluster, kubeconfig = own_cluster
    namespace = kubeconfig.name.split(".")[1]
    place = ["--namespace", namespace]
    # The definitions are there already, without an owner: as after 'kubectl apply' by hand.
    helm.run(
        "install",
        "tidegate",
        str(previous),
        *place,
        "--take-ownership",
        "--force-conflicts",
        values=LOCAL,
        kubeconfig=kubeconfig,
    )
    assert "rayVersion" not in _runtime_fields(cluster)
    runtime = ROOT / "examples" / "local" / "modelruntime.yaml"
    cluster.kubectl("apply", "-f", str(runtime), namespace=namespace)
    claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/tidegate-data"
    runtimes = f"/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/modelruntimes"
    before = cluster.request("GET", claim).json()["metadata"]["uid"], _uids(cluster, runtimes)
    assert before[1]

    changed = merged(LOCAL, {"gateway": {"replicas": 3}})
    helm.run("upgrade", "tidegate", str(CHART), *place, values=changed, kubeconfig=kubeconfig)
    assert "rayVersion" in _runtime_fields(cluster)
    assert (cluster.request("GET", claim).json()["metadata"]["uid"], _uids(cluster, runtimes)) == before
    gateway = cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/tidegate-gateway").json()
    assert gateway["spec"]["replicas"] == 3

    helm.run("uninstall", "tidegate", *place, "--wait=hookOnly", kubeconfig=kubeconfig)
    assert (cluster.request("GET", claim).json()["metadata"]["uid"], _uids(cluster, runtimes)) == before
    left = cluster.kubectl(
        "get",
        "all,cm,sa,roles,rolebindings,netpol,pdb,pvc,cronjobs",
        "-l",
        "app.kubernetes.io/instance=tidegate",
        "-o",
        "name",
        namespace=namespace,
    ).stdout.split()
    assert left == ["persistentvolumeclaim/tidegate-data"]

    # And again: what stayed is taken over.
    helm.run("install", "tidegate", str(CHART), *place, values=LOCAL, kubeconfig=kubeconfig)
    assert (cluster.request("GET", claim).json()["metadata"]["uid"], _uids(cluster, runtimes)) == before
    helm.run("uninstall", "tidegate", *place, "--wait=hookOnly", kubeconfig=kubeconfig)


@pytest.mark.parametrize(("handed_over", "pods"), [(True, 8), (False, 1)])
def test_autoscaling_takes_over_the_pods_that_there_are_once_they_are_handed_over(
    helm: Helm, cluster: KubeApi, *, handed_over: bool, pods: int
) -> None:
    """By the command of docs/chart.md. Without it nobody says how many until the autoscaler has looked."""
    namespace = cluster.make_namespace("scaling")
    place = ["--namespace", namespace]
    kubeconfig = cluster.kubeconfig("admin", namespace)
    before = merged(LOCAL, NOTHING_CLUSTER_WIDE, {"gateway": {"replicas": 8}})
    helm.run("install", "tidegate", str(CHART), *place, values=before, kubeconfig=kubeconfig)
    if handed_over:
        _run_documented("--field-manager=autoscaling", cluster, namespace)
    after = merged(before, {"gateway": {"autoscaling": {"enabled": True}}})
    helm.run("upgrade", "tidegate", str(CHART), *place, values=after, kubeconfig=kubeconfig)
    gateway = cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/tidegate-gateway").json()
    assert gateway["spec"]["replicas"] == pods


def _run_documented(holding: str, cluster: KubeApi, namespace: str) -> None:
    """The block of commands in docs/chart.md with that text, in this namespace."""
    if shutil.which("jq") is None:
        subprocess.run([ROOT / "hack" / "apt-install.sh", "jq"], check=True, capture_output=True)
    told = documented.commands(holding, {"-n models": f"-n {namespace}"}, "chart.md")
    path = f"{cluster.programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", told],
        env={"PATH": path, "KUBECONFIG": str(cluster.kubeconfig("admin", namespace)), "HOME": str(cluster.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _runtime_fields(cluster: KubeApi) -> dict[str, Any]:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelruntimes.tidegate.dev"
    schema = cluster.request("GET", path).json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields: dict[str, Any] = schema["properties"]["spec"]["properties"]
    return fields


def _uids(cluster: KubeApi, path: str) -> list[str]:
    """Of all objects of a kind; asked again while the API server takes a changed definition over."""
    for _ in range(100):
        said = cluster.request("GET", path)
        if said.is_success:
            return [item["metadata"]["uid"] for item in said.json()["items"]]
        time.sleep(0.1)
    raise AssertionError(said.text)
