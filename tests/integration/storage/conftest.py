"""A real S3 server, and an environment that leads this process to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs

from tests.minio import CannotBuild, Minio, minio
from tests.ports import free_port
from tidegate.ids import new_id

Environment = Callable[..., None]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    try:
        minio()
    except CannotBuild as why:
        pytest.skip(f"no MinIO: {why}")
    started = Minio(tmp_path_factory.mktemp("minio"), "127.0.0.1", free_port())
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def environment(server: Minio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """Leads this process to the server; called with names and values, it says otherwise (None: without it)."""

    def change(**values: str | None) -> None:
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # a client keeps what it read when it was made

    change(**server.environment, AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null",
           AWS_SHARED_CREDENTIALS_FILE="/dev/null")  # fmt: skip
    yield change
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(server: Minio, environment: Environment) -> str:
    """The name of an empty one."""
    name = f"test-{new_id().lower()}"
    server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def folder(bucket: str) -> str:
    return f"s3://{bucket}/a folder"


@pytest.fixture
def running(server: Minio) -> Iterator[Minio]:
    """For tests that stop or freeze the server: it runs again after them."""
    yield server
    server.stop()
    server.start()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
