"""The contract that the stand-in of the unit tests keeps, held against the real Kubeflow Pipelines."""

from __future__ import annotations

import pytest

from tests.cluster.kfp.backend import Backend
from tests.kfp_contract import KfpContract, package
from tidegate.adapters.kfp_client import KfpApi
from tidegate.kfp_settings import KfpSettings

__all__ = ["package"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def kfp(backend: Backend) -> KfpApi:
    return KfpApi(KfpSettings(url=backend.api))


class TestRealBackend(KfpContract):
    """All of it."""
