"""A real object store: MinIO, where hack/kfp has built it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

KEY, SECRET = "features", "features-secret"


def _program() -> Path:
    found = sorted(Path.home().glob(".cache/tidegate/kfp/*/bin/minio"))
    if not found:
        pytest.skip("no MinIO on this machine: hack/kfp/build.sh builds it")
    return found[-1]


@contextmanager
def object_storage(folder: Path, bucket: str) -> Iterator[Mapping[str, str]]:
    """The environment that reaches it; a bucket is a folder of its data."""
    program = _program()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / bucket).mkdir(parents=True)
    environment = {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "HOME": str(folder)}
    environment["MINIO_UPDATE"] = "off"
    with (folder.parent / "minio.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", "--address", address, str(folder)], env=environment, stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while not _ready(f"http://{address}"):
            assert process.poll() is None, (folder.parent / "minio.log").read_text()
            assert time.monotonic() < end, (folder.parent / "minio.log").read_text()
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu-central-1",
        }
    finally:
        process.kill()
        process.wait(timeout=30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/minio/health/ready", timeout=1).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
