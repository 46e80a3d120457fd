"""Tests whose pods run. The node is brought up once, and taken down again by whoever brought it up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import s3fs

from tests.cluster.node import CannotRun, Node, bring_up, take_down
from tests.cluster.services import Services, services
from tests.minio import CannotBuild, minio
from tests.postgres import NoServer


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
    try:
        minio()
        with services(tmp_path_factory.mktemp("services")) as made:
            yield made
    except (NoServer, CannotBuild) as why:
        pytest.skip(str(why))


@pytest.fixture
def here(stands_on: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process reaches the services, too, as an ML engineer's does."""
    for name, value in {**stands_on.minio.environment, **stands_on.trusted}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.cluster)
