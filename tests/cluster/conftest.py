"""Tests whose pods run. The node is brought up once, and taken down again by whoever brought it up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.node import CannotRun, Node, bring_up, take_down


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    try:
        found, was_up = bring_up()
    except CannotRun as why:
        pytest.skip(f"no one-node cluster: {why}")
    yield found
    if not was_up:
        take_down()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.cluster)
