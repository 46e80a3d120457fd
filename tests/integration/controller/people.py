"""A person's machine in front of a real cluster: kubeconfigs of several people, and what they run.

The fixtures are conftest.py's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.world import NAME, World, deployment
from tests.kube_api import KubeApi
from tests.kube_rights import wait_for_rights
from tidegate.adapters.kube.kinds import OWN
from tidegate.adapters.kube.person import MANAGER
from tidegate.cli.main import app
from tidegate.domain.resources import to_manifest

REQUESTED_BY = "tidegate.dev/requested-by"


class AppliedWorld(KubeWorld):
    """Its manifests are applied as the command does it."""

    manager = MANAGER


@pytest.fixture
def team(kube: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace, and a person's machine: nothing but a kubeconfig, which names alice and another namespace."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "none"))
    be(kube, "alice", monkeypatch)
    return kube.make_namespace("team")


@pytest.fixture(scope="session")
def operable(kube: KubeApi) -> None:
    """All that an operator watches is served."""
    KubeWorld.install(kube)


@pytest.fixture
def applied(kube: KubeApi, operable: None, team: str, tmp_path: Path) -> KubeWorld:
    """Version 2 is in the shadow; an administrator applied it, in nobody's name."""
    made = AppliedWorld(tmp_path, kube, team)
    made.set_up()
    made.until("Succeeded")
    made.tick()
    made.nominate("2")
    made.until("Shadow")
    return made


@contextmanager
def controlled(world: World) -> Iterator[None]:
    """A controller that runs beside the command."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            world.tick()

    with ThreadPoolExecutor(1) as beside:
        working = beside.submit(work)
        try:
            yield
        finally:
            stop.set()
        working.result()  # what ended it early is told


def be(kube: KubeApi, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(user)))


def be_account(kube: KubeApi, namespace: str, verbs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Becomes a service account that may do so much: resource -> verbs. Its user name."""
    kube.kubectl("create", "serviceaccount", "limited", namespace=namespace)
    for resource, allowed in verbs.items():
        what = (f"--verb={allowed}", f"--resource={resource}.tidegate.dev")
        kube.kubectl("create", "role", resource, *what, namespace=namespace)
        to = (f"--role={resource}", f"--serviceaccount={namespace}:limited")
        kube.kubectl("create", "rolebinding", resource, *to, namespace=namespace)
    wait_for_rights(kube, namespace)
    config = yaml.safe_load(kube.kubeconfig("alice").read_text())
    config["users"][0]["user"] = {"token": kube.kubectl("create", "token", "limited", namespace=namespace).stdout}
    path = kube.folder / f"{namespace}.limited"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return f"system:serviceaccount:{namespace}:limited"


def run(*arguments: str, stdin: str = "") -> tuple[str, str]:
    """Output and notes."""
    result = CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def apply(manifest: dict[str, Any], *options: str) -> str:
    said, _ = run("apply", "-f", "-", "-o", "json", *options, stdin=yaml.safe_dump(manifest))
    return str(json.loads(said)[0]["result"])


def manifest(*, by: str | None = None, **rollout: Any) -> dict[str, Any]:
    made = to_manifest(deployment(**rollout))
    made["metadata"] = {"name": NAME} | ({"annotations": {REQUESTED_BY: by}} if by is not None else {})
    return made


def stored(kube: KubeApi, namespace: str, kind: str = "ModelDeployment", name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        kube.kubectl("get", OWN[kind].plural, name, "-o", "json", namespace=namespace).stdout
    )
    return found


def actions(kube: KubeApi, namespace: str) -> list[dict[str, Any]]:
    said = kube.kubectl("get", "rolloutactions", "-o", "json", namespace=namespace).stdout
    found: list[dict[str, Any]] = json.loads(said)["items"]
    return found
