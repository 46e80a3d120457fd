"""A real API server with tidegate's and KubeRay's definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.operator.objects import Objects
from tests.kube_api import KubeApi
from tests.kube_fixtures import install_tidegate, kube, kuberay, namespace, programs_or_skip
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.election import LeaseElection
from tidegate.clock import SystemClock

__all__ = ["kube", "kuberay", "namespace"]


@pytest.fixture
def client(kuberay: KubeApi, namespace: str) -> Client:
    return Client.from_kubeconfig(kuberay.kubeconfig("admin", namespace), namespace, seconds=60.0)


@pytest.fixture
def election(client: Client) -> LeaseElection:
    return LeaseElection(client, SystemClock())


@pytest.fixture
def objects(client: Client, election: LeaseElection) -> Objects:
    made = Objects(client, election.check)
    made.refresh()
    return made


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server of the module's own, which its tests may kill."""
    with KubeApi(tmp_path_factory.mktemp("fragile") / "api", programs_or_skip()) as api:
        install_tidegate(api)
        yield api


Connect = Callable[[], Client]


@pytest.fixture
def connect(fragile: KubeApi) -> Connect:
    """Clients of one namespace of the fragile server. One that was killed refuses at once."""
    name = fragile.make_namespace()
    config: Path = fragile.kubeconfig("admin", name)
    return lambda: Client.from_kubeconfig(config, name, seconds=60.0)
