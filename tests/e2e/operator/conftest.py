"""The tests here start a Ray: it gets its token before anything imports it."""

from tests.ray_token import share_one_token

share_one_token()

from tests.kube_fixtures import kube, kuberay  # noqa: E402

__all__ = ["kube", "kuberay"]
