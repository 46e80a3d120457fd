"""Tests whose pods run. The node is brought up once, and taken down again by whoever brought it up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.node import CannotRun, Node, bring_up, take_down
from tests.cluster.services import Services, services_or_skip, told


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    try:
        found, was_up = bring_up()
    except CannotRun as why:
        pytest.skip(f"no one-node cluster: {why}")
    yield found
    if not was_up:
        take_down()


@pytest.fixture(scope="module")
def stands_on(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """What a release without local extras uses; each file of tests has its own."""
    with services_or_skip(tmp_path_factory.mktemp("services")) as made:
        yield made


@pytest.fixture
def here(stands_on: Services) -> Iterator[None]:
    """This process reaches the services, too, as an ML engineer's does."""
    with told({**stands_on.minio.environment, **stands_on.trusted}):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.cluster)
