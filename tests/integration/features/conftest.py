"""A shared feature store of real parts: PostgreSQL, Redis, MinIO; the last two once with TLS, once without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from components.datasets.generator import generate
from components.datasets.readers import GENERATED_MAPPING
from components.datasets.rows import write_csv
from components.features.logic import run
from components.features.spec import FeaturesResult
from components.prepare.logic import run as run_prepare
from tests.certificates import Authority
from tests.minio import CannotBuild, Minio, minio
from tests.ports import free_port
from tests.redis_server import PASSWORD, RedisServer, redis_server
from tests.shared_features import configuration
from tests.unit.store.databases import create_database, postgres_url
from tidegate.adapters.feast_site import SharedSite, site_of
from tidegate.settings import load_settings

__all__ = ["postgres_url"]
POOL = 200


def silent(_message: str, _numbers: object) -> None:
    return


@dataclass(frozen=True)
class Shared:
    """What a gateway's pod and a step's pod are both given; their folders are their own."""

    environment: Mapping[str, str]
    redis: RedisServer
    result: FeaturesResult
    out: Path
    prepared: Path
    folder: Path

    def config_text(self, redis_port: int) -> str:
        """`feature_store.yaml` as the chart writes it, with Redis at that port."""
        return yaml.safe_dump(configuration(f"127.0.0.1:{redis_port}", tls=self.redis.tls is not None))

    @property
    def site(self) -> SharedSite:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            found = site_of(load_settings(self.folder / "reader"))
        assert isinstance(found, SharedSite)
        return found

    def elsewhere(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Python in a process and a home of its own."""
        environment = {**os.environ, **self.environment, "TIDEGATE_HOME": str(self.folder / "elsewhere")}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def look_up(self, customers: Sequence[str], references: Sequence[str]) -> list[dict[str, Any]]:
        """What another process finds."""
        reader = self.elsewhere(_LOOK_UP, json.dumps(list(customers)), json.dumps(list(references)))
        said, _ = reader.communicate(timeout=300)
        assert reader.returncode == 0
        found: list[dict[str, Any]] = json.loads(said.splitlines()[-1])
        return found


_LOOK_UP = """
import json, sys
from tidegate.adapters.feast_site import site_of
from tidegate.adapters.feast_store import FeastOnline
from tidegate.settings import load_settings
online = FeastOnline(site_of(load_settings()))
print(json.dumps([online.get(customer, json.loads(sys.argv[2])) for customer in json.loads(sys.argv[1])]))
"""


WITH_TLS: Final = "histories in S3 and everything by TLS"


@pytest.fixture(scope="module", params=["histories in files", WITH_TLS])
def authority(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Authority | None:
    """Who signs the servers' certificates; None: they speak no TLS."""
    return Authority(tmp_path_factory.mktemp("authority")) if request.param == WITH_TLS else None


@pytest.fixture(scope="module")
def redis(authority: Authority | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    tls = authority.server("redis", ["127.0.0.1"]) if authority else None
    with redis_server(tmp_path_factory.mktemp("redis"), tls) as made:
        yield made


@pytest.fixture(scope="module")
def histories(authority: Authority | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Environment by which every process finds the histories."""
    folder = tmp_path_factory.mktemp("histories")
    if authority is None:
        yield {"TIDEGATE_FEATURES__HISTORY_URI": f"file://{folder}"}
        return
    try:
        minio()
    except CannotBuild as why:
        pytest.skip(f"no MinIO: {why}")
    server = Minio(folder, "127.0.0.1", free_port(), authority.server("minio", ["127.0.0.1"]))
    try:
        server.start()
        server.client().create_bucket(Bucket="models")
        trusted = {"SSL_CERT_FILE": str(authority.file)}  # as the chart has it
        yield {**server.environment, **trusted, "TIDEGATE_FEATURES__HISTORY_URI": "s3://models/features"}
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shared(
    redis: RedisServer, histories: Mapping[str, str], postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    """The features step has run in this process; readers are other instances or processes."""
    folder = tmp_path_factory.mktemp("shared")
    with redis.client() as client:
        client.flushall()
    config = folder / "feature_store.yaml"
    config.write_text(yaml.safe_dump(configuration(f"127.0.0.1:{redis.port}", tls=redis.tls is not None)))
    environment = {
        **histories,
        "TIDEGATE_FEATURES__CONFIG": str(config),
        "TIDEGATE_DATABASE_URL": f"{postgres_url}/{create_database(postgres_url)}",
        "FEAST_REDIS_PASSWORD": PASSWORD,
    }
    write_csv(generate(1, 300, customers=POOL), folder / "data.csv")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "TIDEGATE_HOME": str(folder / "writer")}.items():
            patch.setenv(name, value)
        source = {"uri": str(folder / "data.csv"), "mapping": GENERATED_MAPPING.model_dump()}
        run_prepare({"sources": [source], "out_uri": str(folder / "prepared")}, silent)
        payload = {"in_uri": str(folder / "prepared"), "out_uri": str(folder / "out"), "customer_pool": POOL}
        result = FeaturesResult.model_validate(run(payload, silent))
        yield Shared(environment, redis, result, folder / "out", folder / "prepared", folder)
