"""What real Kubeflow Pipelines refuses or misses, in the command's words.

The token is asked for by the API server, whose proxy to the Service of KFP is what an authenticating gateway is
elsewhere: TLS with an authority of its own, a bearer token, and rights.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cluster.kfp.backend import NAMESPACE, Backend
from tests.cluster.kfp.command import Command
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class _Gateway:
    """KFP behind the API server."""

    def __init__(self, backend: Backend) -> None:
        config = yaml.safe_load(backend.node.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.url = f"{cluster['server']}/api/v1/namespaces/{NAMESPACE}/services/ml-pipeline:8888/proxy"
        self.authority = cluster["certificate-authority"]
        self.token = str(config["users"][0]["user"]["token"])

    def options(self, token: Path) -> list[str]:
        return ["--url", self.url, "--ca-file", self.authority, "--token-file", str(token)]


@pytest.fixture
def gateway(backend: Backend, tidegate: Command) -> _Gateway:
    del tidegate  # the pipelines are there
    return _Gateway(backend)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "token"


def test_a_good_token_over_tls_is_let_in(tidegate: Command, gateway: _Gateway, token: Path) -> None:
    token.write_text(gateway.token)
    listed = tidegate.ok("pipelines", "list", "pipelines", *gateway.options(token))
    assert all(name in listed for name in ("fine-tune", "retrain", "drift-check"))


def test_a_refused_token_is_said(tidegate: Command, gateway: _Gateway, token: Path) -> None:
    token.write_text("not-a-token")
    said = tidegate.refused("pipelines", "list", *gateway.options(token))
    assert "401" in said
    assert "--token-file" in said


def test_an_account_without_rights_is_told(backend: Backend, tidegate: Command, gateway: _Gateway, token: Path) -> None:
    token.write_text(backend.kubectl("create", "token", "tidegate-training"))
    said = tidegate.refused("pipelines", "list", *gateway.options(token))
    assert "403" in said
    assert "tidegate-training" in said


def test_an_unknown_authority_is_said(tidegate: Command, gateway: _Gateway, token: Path) -> None:
    token.write_text(gateway.token)
    said = tidegate.refused("pipelines", "list", "--url", gateway.url, "--token-file", str(token))
    assert "certificate" in said
    assert "--ca-file" in said


def test_an_api_that_is_not_there_is_said(tidegate: Command) -> None:
    port = free_port()
    said = tidegate.refused("pipelines", "list", "--url", f"http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port} does not answer" in said
    assert "port-forward" in said


def test_a_package_that_is_none_is_refused_before_it_is_sent(
    backend: Backend, tidegate: Command, tmp_path: Path
) -> None:
    package = tmp_path / "broken.yaml"
    package.write_text("pipelineInfo: {name: broken}\nroot: [")  # the server would answer never and spin a core
    said = tidegate.refused("pipelines", "upload", str(package))
    assert "broken.yaml" in said
    assert "broken" not in {run.get("display_name") for run in backend.runs()}


def test_uploading_again_changes_nothing(tidegate: Command) -> None:
    said = tidegate.ok("pipelines", "upload", "--site", str(tidegate.platform.site))
    assert said.count("unchanged") == 3
    assert "uploaded" not in said


def test_a_version_is_never_replaced(tidegate: Command, tmp_path: Path) -> None:
    version = tidegate.ok("pipelines", "list", "versions", "--pipeline", "drift-check", "-o", "json")
    name = yaml.safe_load(version)[0]["version"]
    site = yaml.safe_load(tidegate.platform.site.read_text())
    site["defaults"]["labels"] = {"changed": "yes"}
    other = tmp_path / "site.yaml"
    other.write_text(yaml.safe_dump(site))
    said = tidegate.refused("pipelines", "upload", "--site", str(other), "--version", name)
    assert "other content" in said
    assert "--version" in said


@pytest.mark.parametrize(
    ("parameter", "words"),
    [("steps=3", "steps"), ('max_steps="many"', "max_steps")],
)
def test_a_wrong_parameter_is_refused_before_a_run_is_made(
    backend: Backend, tidegate: Command, parameter: str, words: str
) -> None:
    before = len(backend.runs())
    said = tidegate.refused("pipelines", "run", "fine-tune", "-p", "data=x.csv", "-p", parameter)
    assert words in said
    assert len(backend.runs()) == before
