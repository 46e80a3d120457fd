"""Kubeflow Pipelines' stand-in, a client of it, and packages to send it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.compile import COMPILED
from tests.kfp_api import KfpStandIn
from tests.kfp_contract import package
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.kfp_settings import KfpSettings

__all__ = ["package"]


@pytest.fixture
def stand_in() -> Iterator[KfpStandIn]:
    with KfpStandIn() as made:
        yield made


@pytest.fixture
def kfp(stand_in: KfpStandIn) -> KfpApi:
    return KfpApi(KfpSettings(url=stand_in.url))


@pytest.fixture
def retrain() -> Package:
    return read_package(COMPILED / "retrain.yaml")
