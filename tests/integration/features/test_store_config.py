"""A `feature_store.yaml` that is wrong, incomplete or odd: what the feature store says of it, and never a secret."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

from components.features.template import CUSTOMER_PROFILE
from tests.shared_features import configuration
from tidegate.adapters.feast_config import read_config
from tidegate.adapters.feast_errors import explained
from tidegate.adapters.feast_site import SharedSite
from tidegate.adapters.feast_store import FeastOnline
from tidegate.errors import InvalidInput, Unavailable

pytestmark = pytest.mark.integration
REFERENCES = CUSTOMER_PROFILE.references
GARBAGE: dict[str, tuple[str, str]] = {
    "no YAML": ("project: [", "is no YAML in line"),
    "no mapping": ("- a", "holds no mapping, but list"),
    "empty": ("", "holds no mapping"),
    "no registry": ("project: a\nonline_store: {type: redis}", "has no registry"),
    "an unset variable": (
        "project: a\nregistry: a.db\nonline_store: {type: redis, connection_string: 'a:1,password=${NO_SUCH_NAME}'}",
        r"takes \$\{NO_SUCH_NAME\} in 'connection_string', and it is not set",
    ),
    "an unknown store": ("project: a\nregistry: a.db\nonline_store: {type: rediss}", "rediss"),
    "Redis without an address": (
        "project: a\nregistry: a.db\nonline_store: {type: redis, connection_string: 'redis,password=hush-hush'}",
        "connection_string begins with no address",
    ),
    "Redis by a URL": (
        "project: a\nregistry: a.db\nonline_store: {type: redis, connection_string: 'redis://:${PASSWORD}@redis:6379'}",
        "connection_string begins with no address",
    ),
    "a password before the host": (
        "project: a\nregistry: a.db\nonline_store: {type: redis, connection_string: '${PASSWORD}@redis:6379'}",
        "connection_string begins with no address",
    ),
    "options before the address": (
        "project: a\nregistry: a.db\nonline_store: {type: redis, connection_string: 'password=${PASSWORD},redis:6379'}",
        "connection_string begins with no address",
    ),
    "Sentinel by a URL": (
        (
            "project: a\nregistry: a.db\nonline_store:\n  type: redis\n  redis_type: redis_sentinel\n"
            "  connection_string: a:1,default:${PASSWORD}@redis:26379"
        ),
        "connection_string begins with no address",
    ),
    "a cluster without an address": (
        "project: a\nregistry: a.db\nonline_store: {redis_type: redis_cluster, type: redis, connection_string: 'a=b'}",
        "connection_string begins with no address",
    ),
    "a registry at no address": (
        "project: a\nregistry: {registry_type: sql, path: somewhere}\nonline_store: {type: sqlite, path: a.db}",
        "Feast cannot use .* ArgumentError",
    ),
    "an unknown option": (
        "project: a\nregistry: a.db\nonline_store: {type: redis, connection_string: 'a:1', passwort: hush-hush}",
        "passwort",
    ),
    "a warehouse": (
        "project: a\nregistry: a.db\nonline_store: {type: sqlite}\noffline_store: {type: bigquery}",
        "names the offline store 'bigquery'",
    ),
}


@pytest.mark.parametrize("kind", ["redis", "redis_cluster", "redis_sentinel"])
def test_a_silent_redis_of_any_kind_is_given_up(tmp_path: Path, kind: str) -> None:
    config = tmp_path / "feature_store.yaml"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        content = configuration(f"127.0.0.1:{silent.getsockname()[1]}", password=False)
        config.write_text(yaml.safe_dump({**content, "online_store": {**content["online_store"], "redis_type": kind}}))
        environment = {"TIDEGATE_DATABASE_URL": "postgresql://unused"}
        online = read_config(config, environment, serving=True)["online_store"]
        with pytest.raises(Unavailable, match="does not answer"), explained("of this test"):
            RedisOnlineStore()._get_client(RedisOnlineStoreConfig(**online)).ping()


@pytest.mark.parametrize("what", GARBAGE)
def test_a_configuration_that_cannot_be_used_says_why(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "hush-hush")
    content, said = GARBAGE[what]
    config = tmp_path / "feature_store.yaml"
    config.write_text(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        FeastOnline(SharedSite(config, str(tmp_path), "sqlite:///x.db")).warm()
    assert str(tmp_path) in str(caught.value)
    assert caught.value.next_step
    assert "hush-hush" not in str(caught.value)


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.yaml does not exist\. Mount it there"):
        FeastOnline(SharedSite(tmp_path / "gone.yaml", "h", "sqlite:///x.db")).get("c", REFERENCES)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("hush,hush", "holds a comma"),
        ("hush-hush\n", "ends with a line break.*echo -n"),
        ("hush\thush", "holds a control character"),
    ],
)
def test_a_password_that_feast_cannot_carry_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, said: str
) -> None:
    monkeypatch.setenv("FEAST_REDIS_PASSWORD", password)
    monkeypatch.setenv("TIDEGATE_DATABASE_URL", "sqlite:///x.db")
    config = tmp_path / "feature_store.yaml"
    config.write_text(json.dumps(configuration("127.0.0.1:1")))
    with pytest.raises(InvalidInput, match=f"FEAST_REDIS_PASSWORD {said}") as caught:
        FeastOnline(SharedSite(config, "h", "sqlite:///x.db")).warm()
    assert password.strip() not in str(caught.value)


def test_a_registry_in_feasts_short_form_has_our_defaults(tmp_path: Path) -> None:
    config = tmp_path / "feature_store.yaml"
    found = []
    for registry in ("a.db", {"path": "a.db"}):
        config.write_text(yaml.safe_dump({**configuration("redis:6379", password=False), "registry": registry}))
        found.append(read_config(config, {}, serving=True)["registry"])
    assert found[0] == found[1]
    assert (found[0]["path"], found[0]["cache_mode"]) == ("a.db", "thread")
