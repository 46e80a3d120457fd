"""What an installation without local extras stands on: PostgreSQL with two databases, S3 with a bucket, Redis.

All are the real ones, as processes of this machine on the address that pods reach. They speak TLS and nothing else,
with certificates of an authority that only `CONFIG_MAP` makes known.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import s3fs
import sqlalchemy as sa

from tests.certificates import Authority
from tests.cluster.installation import Installation, secret
from tests.cluster.machine import API_SERVER, SMALL, build_images, images_here, start_kuberay
from tests.cluster.node import ADDRESS, Json, Node, load
from tests.minio import CannotBuild, Minio, minio
from tests.ports import free_port
from tests.postgres import NoServer, Postgres
from tests.redis_server import RedisServer

BUCKET = "bank-models"
"""As docs/cluster.md names it."""
CONFIG_MAP = "company-ca"
"""As docs/chart.md names it."""


@dataclass
class Services:
    """The servers, and what is told of them to whom."""

    postgres: Postgres
    minio: Minio
    redis: RedisServer
    authority: Authority
    passwords: dict[str, str] = field(
        default_factory=lambda: {name: secrets.token_hex(12) for name in ("tidegate", "mlflow")}
    )

    def database_url(self, name: str, password: str | None = None) -> str:
        """As a Secret of the installation has it; pods and people have the certificates by `trusted` or the chart."""
        url = self.postgres.url(name, f"{name}_user", password or self.passwords[name])
        return url.replace("postgresql://", "postgresql+psycopg://") + "?sslmode=verify-full"

    @property
    def trusted(self) -> dict[str, str]:
        """Environment of a client on this machine, as docs/chart.md has it."""
        names = ("AWS_CA_BUNDLE", "PGSSLROOTCERT", "SSL_CERT_FILE")
        return dict.fromkeys(names, str(self.authority.file))

    def certificates(self) -> Json:
        """The ConfigMap with what the chart's pods trust."""
        content = {"ca.crt": self.authority.file.read_text()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": content}

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
        url = sa.make_url(self.database_url("tidegate"))
        engine = sa.create_engine(url.update_query_dict({"sslrootcert": str(self.authority.file)}))
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
    authority = Authority(folder / "authority")
    of = {name: authority.server(name, [ADDRESS]) for name in ("postgres", "minio", "redis")}
    postgres = Postgres(ADDRESS, secrets.token_hex(12), {"log_statement": "ddl"}, of["postgres"])
    redis = RedisServer(folder, ADDRESS, secrets.token_hex(12), of["redis"])
    made = Services(postgres, Minio(folder, ADDRESS, free_port(ADDRESS), of["minio"]), redis, authority)
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


@contextmanager
def services_or_skip(folder: Path) -> Iterator[Services]:
    """`services`, and MinIO built; tests skip where this machine lacks one of them."""
    try:
        minio()
        with services(folder) as made:
            yield made
    except (NoServer, CannotBuild) as why:
        pytest.skip(str(why))


@contextmanager
def told(variables: Mapping[str, str]) -> Iterator[None]:
    """This process has these variables meanwhile; connections to S3 that it keeps are made anew."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in variables.items():
            patched.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


def prepared(node: Node, stands_on: Services, namespace: str, home: Path, password: str | None = None) -> Installation:
    """A namespace with what an installation on these servers names, and KubeRay; nothing is installed yet.

    Args:
        password: another one for the platform's database.
    """
    load(*build_images())
    start_kuberay()
    made = Installation(node, namespace, home, home)
    made.remove()
    node.make_namespace(namespace)
    node.apply(*made.secrets(), *stands_on.secrets(password), stands_on.certificates(), namespace=namespace)
    return made


def machine_values(stands_on: Services) -> Json:
    """What differs on this machine: images that nobody pulls, two cores, and where the servers are."""
    minio, redis = stands_on.minio, stands_on.redis
    endpoint = {name: minio.environment[name] for name in ("AWS_ENDPOINT_URL", "AWS_REGION")}
    return {
        **images_here(),
        "certificateAuthority": {"configMap": CONFIG_MAP},
        "objectStorage": {"env": endpoint},
        "redis": {"address": f"{redis.host}:{redis.port}", "existingSecret": "tidegate-redis", "tls": True},
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
