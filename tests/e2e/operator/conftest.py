"""The tests here start a Ray: it gets its token before anything imports it."""

from tests.ray_token import share_one_token

share_one_token()

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from tests.e2e.operator.platform import Cluster, cluster  # noqa: E402
from tests.kube_api import KubeApi  # noqa: E402
from tests.kube_fixtures import kube, kuberay  # noqa: E402

__all__ = ["kube", "kuberay"]


@pytest.fixture(scope="session")
def platform(kuberay: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests: bringing it up takes a minute. test_operator.py comes first and leaves a version serving."""
    home: Path = tmp_path_factory.mktemp("op") / "home"
    with cluster(kuberay, home) as made:
        made.processes.start("operator", "serving.operator")
        yield made
