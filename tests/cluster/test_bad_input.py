"""What people get wrong, on real pods: it is said what is wrong, nothing else suffers, and a second try heals it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import alerts
from tests.cluster.helm import helm, install
from tests.cluster.installation import ONE_NODE, RELEASE, Installation
from tests.cluster.machine import build_images, start_kuberay
from tests.cluster.node import USER, Node, load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
_SHORT = ("--timeout", "30s")
"""For what never gets ready. Helm takes the last of two timeouts."""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 64 MiB, which a test can fill."""
    folder: Path = tmp_path_factory.mktemp("volume")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64m,uid={USER},gid={USER}", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def platform(node: Node, volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Prepared; KubeRay is not there yet."""
    load(*build_images())
    made = Installation(node, "tidegate-bad", tmp_path_factory.mktemp("bad"), volume)
    made.remove()
    made.prepare()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def kuberay(node: Node) -> None:
    start_kuberay()


def test_a_missing_kuberay_is_named_and_its_arrival_heals(platform: Installation) -> None:
    node, namespace = platform.node, platform.namespace
    if node.get("customresourcedefinition", "rayservices.ray.io"):
        pytest.skip("KubeRay is on this node already: take the node down first (make cluster-down)")
    failed = install(node, RELEASE, namespace, [ONE_NODE, platform.values()], platform.home, *_SHORT)
    assert failed.returncode != 0
    assert f"{RELEASE}-operator" in failed.stderr, failed.stderr
    said = node.until(
        "the operator says what is missing",
        lambda: [line for line in _operator_says(platform) if "the API server knows no rayservices" in line],
        seconds=90,
        told=lambda: node.story(namespace),
    )
    assert "KubeRay" in said[0]
    start_kuberay()
    node.kubectl(
        "rollout", "status", f"deployment/{RELEASE}-operator", "--timeout=300s", namespace=namespace, seconds=310
    )
    healed = install(node, RELEASE, namespace, [ONE_NODE, platform.values()], platform.home)
    assert healed.returncode == 0, healed.stderr + node.story(namespace)
    helm(node, "uninstall", RELEASE, namespace=namespace)


def test_a_missing_secret_is_named_and_the_second_try_heals(platform: Installation, kuberay: None) -> None:
    node, namespace = platform.node, platform.namespace
    secret = node.get("secret", "tidegate-receiver", namespace)
    node.kubectl("delete", "secret", "tidegate-receiver", namespace=namespace)
    failed = install(node, RELEASE, namespace, [ONE_NODE, platform.values()], platform.home, *_SHORT)
    assert failed.returncode != 0
    assert f"{RELEASE}-receiver" in failed.stderr, failed.stderr
    _warned(node, namespace, 'secret "tidegate-receiver" not found')
    node.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tidegate-receiver"}, "data": secret["data"]},
        namespace=namespace,
    )
    healed = install(node, RELEASE, namespace, [ONE_NODE, platform.values()], platform.home)
    assert healed.returncode == 0, healed.stderr + node.story(namespace)


def test_an_image_that_nobody_has_stops_no_pod_that_runs(platform: Installation) -> None:
    node, namespace = platform.node, platform.namespace
    before = platform.pods()
    values = platform.values()
    values["images"]["operator"] = {"tag": "0.0.0-nobody-has-it"}
    failed = install(node, RELEASE, namespace, [ONE_NODE, values], platform.home, *_SHORT)
    assert failed.returncode != 0
    assert f"{RELEASE}-gateway" in failed.stderr, failed.stderr
    _warned(node, namespace, "operator:0.0.0-nobody-has-it")
    gateways = {name for name in before if name.startswith(f"{RELEASE}-gateway")}
    assert gateways <= set(platform.pods()), "the gateway was taken away before its successor was there"
    platform.wait_for_gateway()
    healed = install(node, RELEASE, namespace, [ONE_NODE, platform.values()], platform.home)
    assert healed.returncode == 0, healed.stderr + node.story(namespace)


def test_wrong_values_are_refused_before_anything_changes(platform: Installation) -> None:
    before = platform.pods()
    for values, said in (
        ({"gatway": {"replicas": 3}}, "gatway"),
        ({"attestation": {"existingSecret": ""}}, "attestation.existingSecret"),
        ({"gateway": {"replicas": "three"}}, "replicas"),
    ):
        done = install(platform.node, RELEASE, platform.namespace, [ONE_NODE, platform.values(), values], platform.home)
        assert done.returncode != 0
        assert said in done.stderr, done.stderr
    assert platform.pods() == before


def test_a_full_volume_takes_no_alert_that_it_cannot_keep(platform: Installation, volume: Path) -> None:
    assert alerts.post(platform, "before").status_code == 202
    filler = volume / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), b"\0" * (1 << 16))
        except OSError:
            pass  # full
    refused = [alerts.post(platform, f"full-{number}", "x" * 4000) for number in range(40)]
    assert 503 in {response.status_code for response in refused}, "everything fitted into a volume that is full"
    assert {response.status_code for response in refused} <= {202, 503}
    filler.unlink()
    assert alerts.post(platform, "after").status_code == 202
    assert set(platform.pods().values()) == {0}, "a full volume ended a process"


def _operator_says(platform: Installation) -> list[str]:
    said = ("logs", f"deployment/{RELEASE}-operator")
    return platform.node.kubectl(*said, namespace=platform.namespace, check=False).splitlines()


def _warned(node: Node, namespace: str, text: str) -> None:
    """A kubelet may come to it a while after Helm gave up."""
    events = ("get", "events", "--field-selector=type=Warning", "-o", "custom-columns=M:.message")
    node.until(f"an Event says {text}", lambda: text in node.kubectl(*events, namespace=namespace))
