"""The controller's tests run on both substrates: one machine's database, and a real Kubernetes API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.people import applied, operable, team
from tests.integration.controller.world import LEASE_SECONDS, World
from tests.kube_api import KubeApi
from tests.kube_fixtures import kube, programs_or_skip
from tidegate.clock import Clock

__all__ = ["applied", "kube", "operable", "team"]


class Make(Protocol):
    """Makes a platform in a folder."""

    def __call__(self, home: Path, clock: Clock | None, lease_ttl: float = LEASE_SECONDS) -> World: ...


@pytest.fixture(scope="session")
def kube_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server with tidegate's definitions and no admission policy: whoever asks may ask in any name."""
    with KubeApi(tmp_path_factory.mktemp("kube") / "api", programs_or_skip()) as api:
        KubeWorld.install(api)
        yield api


@pytest.fixture(params=["one machine", "cluster"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a platform in a folder."""
    if request.param == "one machine":
        return World
    api: KubeApi = request.getfixturevalue("kube_api")
    namespace = api.make_namespace()

    def cluster(home: Path, clock: Clock | None, lease_ttl: float = LEASE_SECONDS) -> World:
        return KubeWorld(home, api, namespace, clock, lease_ttl)

    return cluster


@pytest.fixture
def world(make: Make, tmp_path: Path) -> World:
    """One whose first version serves."""
    made = make(tmp_path, None)
    made.set_up()
    made.until("Succeeded")
    return made
