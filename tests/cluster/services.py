"""What an installation without local extras stands on: a PostgreSQL with two databases, and an S3 server with a bucket.

Both are the real ones, as processes of this machine on the address that pods reach.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from tests.cluster.installation import images, secret
from tests.cluster.node import ADDRESS, ROOT, Json
from tests.minio import Minio
from tests.ports import free_port
from tests.postgres import Postgres

BUCKET = "bank-models"
"""As docs/cluster.md names it."""


@dataclass
class Services:
    """The two servers, and what is told of them to whom."""

    postgres: Postgres
    minio: Minio
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
    made = Services(postgres, Minio(folder, ADDRESS, free_port(ADDRESS)))
    try:
        postgres.create()
        postgres.start()
        made.minio.start()
        made.minio.client().create_bucket(Bucket=BUCKET)
        for name, password in made.passwords.items():  # each user may make tables in one database, and no more
            postgres.execute(
                f"CREATE ROLE {name}_user LOGIN PASSWORD '{password}'",
                f"CREATE DATABASE {name} OWNER {name}_user",
                f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            )
        yield made
    finally:
        made.minio.stop()
        postgres.stop()
        postgres.remove()


def documented_values() -> Json:
    """The least values of docs/cluster.md, as they stand there."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    found = re.search(r"```yaml\n(image: .*?)```", text, re.DOTALL)
    assert found, "docs/cluster.md shows no values.yaml that begins with the images' registry"
    values: Json = yaml.safe_load(found[1])
    return values


def machine_values(minio: Minio) -> Json:
    """What differs on this machine: images that nobody pulls, two cores, and where the S3 server is."""
    small = {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}}
    endpoint = {name: minio.environment[name] for name in ("AWS_ENDPOINT_URL", "AWS_REGION")}
    return {
        "image": images(),
        "objectStorage": {"env": endpoint},
        "mlflow": {"server": {**small, "workers": 1, "allowedHosts": ["10.97.*"]}},
        "operator": {**small, "replicas": 1},
        "scorer": {**small, "replicas": 1},
        "gateway": small,
        "receiver": small,
    }
