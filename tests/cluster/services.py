"""What an installation without local extras stands on: PostgreSQL with two databases, S3 with a bucket, Redis.

All are the real ones, as processes of this machine on the address that pods reach.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from tests.cluster.installation import Installation, secret
from tests.cluster.machine import API_SERVER, SMALL, build_images, images_here, start_kuberay
from tests.cluster.node import ADDRESS, Json, Node, load
from tests.minio import Minio
from tests.ports import free_port
from tests.postgres import Postgres
from tests.redis_server import RedisServer

BUCKET = "bank-models"
"""As docs/cluster.md names it."""


@dataclass
class Services:
    """The servers, and what is told of them to whom."""

    postgres: Postgres
    minio: Minio
    redis: RedisServer
    passwords: dict[str, str] = field(
        default_factory=lambda: {name: secrets.token_hex(12) for name in ("tidegate", "mlflow")}
    )

    def database_url(self, name: str, password: str | None = None) -> str:
        url = self.postgres.url(name, f"{name}_user", password or self.passwords[name])
        return url.replace("postgresql://", "postgresql+psycopg://")

    def secrets(self, password: str | None = None) -> list[Json]:
        """Those of docs/chart.md that name these servers; `password`: another one for the platform's database."""
        keys = {name: self.minio.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return [
            secret("tidegate-database", {"url": self.database_url("tidegate", password).encode()}),
            secret("tidegate-mlflow", {"backend-store-uri": self.database_url("mlflow").encode()}),
            secret("tidegate-object-storage", {name: value.encode() for name, value in keys.items()}),
            secret("tidegate-redis", {"password": self.redis.password.encode()}),
        ]

    def rows(self, statement: str) -> list[Any]:
        """What the platform's database answers."""
        engine = sa.create_engine(self.database_url("tidegate"))
        try:
            with engine.connect() as conn:
                return list(conn.execute(sa.text(statement)).scalars())
        finally:
            engine.dispose()


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Running, empty and reachable from pods.

    Raises:
        NoServer, CannotBuild: this machine lacks one of them.
    """
    postgres = Postgres(ADDRESS, password=secrets.token_hex(12), settings={"log_statement": "ddl"})
    redis = RedisServer(folder, ADDRESS, secrets.token_hex(12))
    made = Services(postgres, Minio(folder, ADDRESS, free_port(ADDRESS)), redis)
    try:
        postgres.create()
        postgres.start()
        made.minio.start()
        redis.start()
        made.minio.client().create_bucket(Bucket=BUCKET)
        for name, password in made.passwords.items():  # each user may make tables in one database, and no more
            postgres.execute(
                f"CREATE ROLE {name}_user LOGIN PASSWORD '{password}'",
                f"CREATE DATABASE {name} OWNER {name}_user",
                f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            )
        yield made
    finally:
        redis.kill()
        made.minio.stop()
        postgres.stop()
        postgres.remove()


def prepared(node: Node, stands_on: Services, namespace: str, home: Path, password: str | None = None) -> Installation:
    """A namespace with the Secrets of an installation on these servers, and KubeRay; nothing is installed yet.

    Args:
        password: another one for the platform's database.
    """
    load(*build_images())
    start_kuberay()
    made = Installation(node, namespace, home, home)
    made.remove()
    node.make_namespace(namespace)
    node.apply(*made.secrets(), *stands_on.secrets(password), namespace=namespace)
    return made


def machine_values(stands_on: Services) -> Json:
    """What differs on this machine: images that nobody pulls, two cores, and where the servers are."""
    minio, redis = stands_on.minio, stands_on.redis
    endpoint = {name: minio.environment[name] for name in ("AWS_ENDPOINT_URL", "AWS_REGION")}
    return {
        **images_here(),
        "objectStorage": {"env": endpoint},
        "redis": {"address": f"{redis.host}:{redis.port}", "existingSecret": "tidegate-redis"},
        "networkPolicy": {
            **API_SERVER,
            "databasePorts": [sa.make_url(stands_on.database_url("tidegate")).port],
            "externalPorts": [urlsplit(minio.url).port],
        },
        "mlflow": {"server": {**SMALL, "workers": 1, "allowedHosts": ["10.97.*"]}},
        "operator": {**SMALL, "replicas": 1},
        "scorer": {**SMALL, "replicas": 1},
        "gateway": SMALL,
        "receiver": SMALL,
    }
