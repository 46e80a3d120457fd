"""The operator as a process, while what it watches goes and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.engines.platform import until
from tests.kube_api import ROOT, KubeApi
from tests.kube_fixtures import install, kuberay_definitions, programs_or_skip
from tests.ports import free_port
from tidegate.attestation import load_or_create_key

pytestmark = pytest.mark.integration
DEFINITIONS = sorted((ROOT / "helm" / "tidegate" / "files" / "crds").glob("*.yaml"))
_ELSEWHERE = ("MLFLOW_URI", "RAY_ADDRESS", "RAY_DASHBOARD_URL", "ENGINE_URL", "GATEWAY_URL", "RECEIVER_URL")


@dataclass
class Running:
    """An operator and an API server of its own."""

    api: KubeApi
    namespace: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def leads(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            said = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False, timeout=5).text
        except httpx.TransportError:
            return False
        return "tidegate_operator_leading 1.0" in said

    def probe(self, name: str) -> tuple[int, str]:
        """What the kubelet is told."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}/{name}", trust_env=False, timeout=5)
        return answer.status_code, answer.text

    def hears(self, name: str) -> bool:
        """Whether an action is answered that a list of now and then would find only minutes later."""
        spec = f"deployment: nothing\n  action: Pause\n  requestedBy: admin\n  reason: {name}"
        body = f"apiVersion: tidegate.dev/v1alpha1\nkind: RolloutAction\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n"
        self.api.kubectl("apply", "-f", "-", namespace=self.namespace, stdin=body)
        path = "jsonpath={.status.answer}"
        until(
            f"{name} is answered",
            lambda: self.api.kubectl("get", "ract", name, "-o", path, namespace=self.namespace).stdout != "",
            seconds=30,
        )
        return True


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Running]:
    with KubeApi(tmp_path / "api", programs_or_skip()) as api:
        install(api, *DEFINITIONS)
        definitions = kuberay_definitions()
        if not definitions:
            pytest.skip("KubeRay's definitions are not here: set TIDEGATE_CRDS")
        install(api, *definitions)
        namespace, port = api.make_namespace(), free_port()
        load_or_create_key(tmp_path / "secrets" / "attestation.key")
        environment = {
            "TIDEGATE_PROFILE": "cluster",
            "TIDEGATE_HOME": str(tmp_path),
            "KUBECONFIG": str(api.kubeconfig("admin", namespace)),
            "TIDEGATE_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}",
            "TIDEGATE_ARTIFACTS_URI": str(tmp_path),
            "TIDEGATE_INFERENCE_LOG__URI": str(tmp_path),
            "TIDEGATE_CLUSTER__METRICS_HOST": "127.0.0.1",
            "TIDEGATE_CLUSTER__METRICS_PORT": str(port),
        } | {f"TIDEGATE_{name}": "http://127.0.0.1:9" for name in _ELSEWHERE}
        log = tmp_path / "operator.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "serving.operator"]
            process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=file, stderr=file)
        made = Running(api, namespace, process, log, port)
        try:
            until("it leads", made.leads, seconds=60)
            yield made
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_definitions_that_go_and_come_back_are_watched_again(operator: Running) -> None:
    assert operator.hears("before")
    operator.api.kubectl("delete", "crd", "modelrollouts.tidegate.dev")
    until(
        "it says so", lambda: "NotFound: the API server knows no modelrollouts" in operator.log.read_text(), seconds=60
    )
    until("it is not ready", lambda: operator.probe("readyz")[0] == 503, seconds=60)
    assert "the API server knows no modelrollouts" in operator.probe("readyz")[1]
    assert operator.probe("healthz")[0] == 200, "a restart would mend nothing"
    install(operator.api, *DEFINITIONS)
    until("it leads", operator.leads, seconds=30)
    until("it is ready", lambda: operator.probe("readyz") == (200, "ok\n"), seconds=60)
    assert operator.hears("after")
    operator.api.kill()
    operator.api.start()
    until("it leads again", operator.leads, seconds=60)
    assert operator.hears("after-a-restart")
