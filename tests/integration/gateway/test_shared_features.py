"""A real gateway whose features come from Redis: what users get, and what people read, when it goes away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from components.features.logic import invented_history
from components.features.profiles import profile_history
from components.features.template import CUSTOMER_PROFILE, template_for
from tests.integration.gateway.conftest import Platform
from tests.redis_server import PASSWORD, RedisServer, redis_server
from tests.shared_features import configuration
from tests.unit.gateway.tables import MODEL, table
from tests.unit.store.databases import create_database, postgres_url
from tidegate.adapters.feast_site import SharedSite
from tidegate.adapters.feast_store import FeastRepository
from tidegate.domain.example import Message

__all__ = ["postgres_url"]
pytestmark = pytest.mark.integration
PROMPT = template_for(tuple(CUSTOMER_PROFILE.fields), ("a", "b"))
FAILURES = "tidegate_gateway_feature_failures_total"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as made:
        yield made


def _events(platform: Platform, event: str) -> list[dict[str, Any]]:
    lines = (platform.home / "gateway.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def _why(platform: Platform) -> str | None:
    said: str | None = httpx.get(f"{platform.url}/readyz", timeout=30).json()["stores"]["features"]
    return said


def _shown(platform: Platform, customer: str) -> str:
    """The system turn that the model saw for a customer."""
    answer = platform.ask(metadata={"customer_id": customer})
    assert answer.status_code == 200, answer.text
    shown: str = platform.engine.asked[-1]["messages"][0]["content"]
    return shown


def _expected(customer: str) -> str:
    hello = (Message(role="user", content="where is my card?"),)
    return PROMPT.render(hello, profile_history(customer, datetime.now(UTC))[-1][1])[0].content


def test_features_go_away_and_come_back(
    fresh: Callable[..., Platform],
    redis: RedisServer,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = f"{postgres_url}/{create_database(postgres_url)}"
    secrets = {"FEAST_REGISTRY_URL": database, "FEAST_REDIS_PASSWORD": PASSWORD}
    content = configuration(f"127.0.0.1:{redis.port}")
    content["registry"]["path"] = "${FEAST_REGISTRY_URL}"
    config = tmp_path / "feature_store.yaml"
    config.write_text(yaml.safe_dump(content))
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    redis.kill()
    platform = fresh(TIDEGATE_FEATURES__CONFIG=str(config), **secrets)
    platform.start()
    # The registry has no view yet, so nothing asks Redis: the gateway says what it found.
    platform.wait(lambda: bool(_events(platform, "feature store ready")))
    assert _events(platform, "feature store ready")[0]["views"] == []
    redis.start()
    customers = [f"c{number}" for number in range(400)]  # one a request: values are cached for some seconds
    now = datetime.now(UTC)
    site = SharedSite(config, str(tmp_path / "histories"), database)
    FeastRepository(site).update(CUSTOMER_PROFILE, invented_history(customers, now), now)

    made = table(platform.engine_url, epoch=1)
    arm = made.arms[0].model_copy(update={"prompt": PROMPT})
    platform.epoch = 1
    platform.routing.publish(made.model_copy(update={"arms": (arm,)}))
    platform.wait(lambda: 1 in platform.routing.acks(MODEL).values())
    turn = iter(customers)

    def rendered() -> bool:
        customer = next(turn)
        return _shown(platform, customer) == _expected(customer)

    platform.wait(rendered)
    assert _why(platform) is None

    def of_nobody() -> bool:  # is no failure; a lookup that took too long is one, and is not kept
        return _shown(platform, "nobody").count("unknown") == len(PROMPT.features) and _why(platform) is None

    platform.wait(of_nobody)
    before = platform.metric(FAILURES)

    redis.kill()

    def refused() -> bool:  # on a busy machine a lookup may first end by time
        assert _shown(platform, next(turn)).count("unknown") == len(PROMPT.features)
        return "does not answer: ConnectionError" in (_why(platform) or "")

    platform.wait(refused)
    assert platform.metric(FAILURES) > before
    reasons = [line for line in _events(platform, "features unknown") if line["reason"] == "error"]
    assert "does not answer: ConnectionError" in reasons[-1]["detail"]

    def degraded() -> bool:
        ready = httpx.get(f"{platform.url}/readyz", timeout=30)
        return (ready.status_code, ready.json()["status"]) == (200, "degraded")

    platform.wait(degraded)

    redis.start()
    platform.wait(rendered)
    assert _why(platform) is None


def test_a_gateway_without_the_password_serves_and_says_which_variable(
    fresh: Callable[..., Platform], redis: RedisServer, postgres_url: str, tmp_path: Path
) -> None:
    config = tmp_path / "feature_store.yaml"
    content = configuration(f"127.0.0.1:{redis.port}")
    content["registry"]["path"] = "${FEAST_REGISTRY_URL}"
    config.write_text(yaml.safe_dump(content))
    database = f"{postgres_url}/{create_database(postgres_url)}"
    platform = fresh(TIDEGATE_FEATURES__CONFIG=str(config), FEAST_REGISTRY_URL=database)
    platform.start()
    platform.wait(lambda: bool(_events(platform, "feature store not there yet")))
    assert "${FEAST_REDIS_PASSWORD}" in _events(platform, "feature store not there yet")[0]["problem"]
    platform.route()
    assert platform.ask().status_code == 200
