"""MLflow's own signature lets the registry be asked at once; anything else is refused and asks nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from serving.controller.registry_watch import RegistryWatch
from serving.operator.assembly import Operator
from serving.operator.hints import FRESH_SECONDS
from serving.operator.web import serve

pytestmark = pytest.mark.integration
SECRET = "a secret between MLflow and the operator"


class Asked:
    """A registry that counts how often an alias is looked up."""

    def __init__(self) -> None:
        self.times = 0

    def by_alias(self, name: str, alias: str) -> None:
        self.times += 1


@pytest.fixture
def watch() -> Iterator[tuple[RegistryWatch, Asked]]:
    registry, stop = Asked(), threading.Event()
    made = RegistryWatch(cast(Any, registry), lambda *_: None)
    made.champion("banking-intent")
    made._champions["banking-intent"] = made.champion("banking-intent")
    thread = threading.Thread(target=made.run, args=(stop, 3600.0), daemon=True)
    thread.start()
    yield made, registry
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def url(watch: tuple[RegistryWatch, Asked], tmp_path: Path) -> Iterator[str]:
    (tmp_path / "webhook").write_text(f"{SECRET}\n")
    operator = SimpleNamespace(controller=SimpleNamespace(parts=SimpleNamespace(registry=watch[0])))
    server = serve(cast(Operator, operator), "127.0.0.1", 0, tmp_path / "webhook")
    yield f"http://127.0.0.1:{server.server_address[1]}/hooks/mlflow"
    server.shutdown()


def deliver(url: str, secret: str = SECRET, age: int = 0, body: str = '{"entity": "model_version_alias"}') -> int:
    stamp = str(int(time.time()) - age)
    signature = _generate_hmac_signature(secret, "delivery-1", stamp, '{"entity": "model_version_alias"}')
    headers = {"X-MLflow-Signature": signature, "X-MLflow-Timestamp": stamp, "X-MLflow-Delivery-Id": "delivery-1"}
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def test_a_signed_delivery_lets_the_registry_be_asked_at_once(url: str, watch: tuple[RegistryWatch, Asked]) -> None:
    before = watch[1].times
    assert deliver(url) == 202
    deadline = time.monotonic() + 60
    while watch[1].times == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "wrong", [{"secret": "another"}, {"age": FRESH_SECONDS + 60}, {"age": -FRESH_SECONDS - 60}, {"body": "{}"}]
)
def test_what_is_not_signed_lately_is_refused(url: str, wrong: dict[str, Any]) -> None:
    assert deliver(url, **wrong) == 401


def test_garbage_is_refused(url: str) -> None:
    assert httpx.post(url, content=b"x", trust_env=False).status_code == 401
    assert httpx.post(url, content=b"", trust_env=False).status_code == 413
    assert httpx.post(url.replace("mlflow", "other"), content=b"x", trust_env=False).status_code == 404
