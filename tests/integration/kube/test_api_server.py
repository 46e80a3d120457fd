"""The test API server itself: outages that tests can cause, and nothing that stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.kube.objects import made, path, thing
from tests.kube_api import ROOT, KubeApi, kube_programs
from tests.kube_fixtures import install_tidegate, kuberay_definitions, programs_or_skip

pytestmark = pytest.mark.integration
_WITHIN = 20.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server that these tests may break."""
    with KubeApi(tmp_path_factory.mktemp("own") / "api", programs_or_skip()) as api:
        install_tidegate(api)
        made(api, "default", thing("ModelRuntime"))
        yield api


def _answers(api: KubeApi) -> bool:
    return api.request("GET", path("ModelRuntime", "default", "intent-assistant"), user="operator").is_success


def test_each_user_has_its_own_rights(own: KubeApi) -> None:
    who = own.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", user="alice").stdout
    assert who == "alice"
    assert own.kubectl("auth", "can-i", "create", "rolloutactions.tidegate.dev", user="alice").stdout.strip() == "yes"
    write = ("auth", "can-i", "patch", "mdep", "--subresource=status")
    assert own.kubectl(*write, user="alice", check=False).stdout.strip() == "no"
    assert own.kubectl(*write, user="operator").stdout.strip() == "yes"
    with own.client("alice") as client:
        answer = client.get("/api/v1/namespaces", headers={"authorization": "Bearer guessed"})
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_killed_it_refuses_connections_and_comes_back_with_its_data_on_its_port(own: KubeApi) -> None:
    before = own.url
    own.kill()
    with pytest.raises(httpx.TransportError):
        _answers(own)
    own.start()
    assert own.url == before
    assert _answers(own)


def test_stopped_with_its_etcd_it_comes_back_with_its_data(own: KubeApi) -> None:
    own.stop()
    assert own.pids == {}
    own.start()
    assert _answers(own)


def test_paused_it_takes_connections_and_does_not_answer(own: KubeApi) -> None:
    own.pause()
    try:
        with own.client() as client, pytest.raises(httpx.TimeoutException):
            client.get("/readyz", timeout=1)
    finally:
        own.resume()
    assert _answers(own)


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_its_processes_end_with_the_tests_however_these_end(tmp_path: Path, signal_: signal.Signals) -> None:
    programs_or_skip()
    script = (
        "import sys, time; from pathlib import Path; from tests.kube_api import KubeApi, kube_programs\n"
        "api = KubeApi(Path(sys.argv[1]) / 'api', kube_programs()); api.start()\n"
        "print(*api.pids.values(), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(part) for part in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.send_signal(signal_)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + _WITHIN
    while any(map(_runs, pids)):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.1)


def test_kuberays_objects_are_taken(kuberay: KubeApi, namespace: str) -> None:
    assert len(kuberay_definitions()) == 3
    service = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "engine"},
        "spec": {
            "rayClusterConfig": {
                "headGroupSpec": {
                    "rayStartParams": {},
                    "template": {"spec": {"containers": [{"name": "head", "image": "localhost/ray:1"}]}},
                }
            }
        },
    }
    where = f"/apis/ray.io/v1/namespaces/{namespace}/rayservices"
    assert kuberay.request("POST", where, service, user="operator").status_code == httpx.codes.CREATED


def test_the_programs_are_those_that_the_pinned_modules_say(kube: KubeApi) -> None:
    pinned = next(
        line.split()[1]
        for line in (ROOT / "hack" / "kube" / "go.mod").read_text(encoding="utf-8").splitlines()
        if line.split()[:1] == ["k8s.io/kubernetes"]
    )
    if "KUBEBUILDER_ASSETS" in os.environ:
        pytest.skip("KUBEBUILDER_ASSETS names the programs")
    assert kube.request("GET", "/version").json()["gitVersion"] == pinned
    assert (kube_programs() / "kubectl").is_file()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
