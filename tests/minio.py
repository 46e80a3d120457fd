"""The real MinIO of hack/minio as a process: an S3 server of a test's own, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import boto3
import httpx

from tests.certificates import ServerFiles

ROOT = Path(__file__).resolve().parents[1]
USER, PASSWORD = "tidegate", "throw-away"
REGION = "eu-test-1"
"""Not botocore's default, so that a client which is told no region notices."""
_CANNOT_RUN = 3


class CannotBuild(Exception):
    """There is no Go to build it with."""


def minio() -> Path:
    """The program.

    Raises:
        CannotBuild: it is not there and cannot be built; the message says why.
    """
    built = subprocess.run([ROOT / "hack/minio/build.sh"], capture_output=True, text=True, check=False)
    if built.returncode == _CANNOT_RUN:
        raise CannotBuild(built.stderr.strip())
    assert built.returncode == 0, built.stderr[-4000:]
    return Path(built.stdout.strip())


class Minio:
    """A server that can be stopped and started again on the same objects; with `tls` it speaks nothing else."""

    def __init__(self, folder: Path, host: str, port: int, tls: ServerFiles | None = None) -> None:
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        self._tls = tls
        self._folder = folder
        self._address = f"{host}:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            **({"AWS_CA_BUNDLE": str(self._tls.authority)} if self._tls else {}),
        }

    def start(self) -> None:
        (self._folder / "objects").mkdir(parents=True, exist_ok=True)
        secured: list[str | Path] = []
        if self._tls is not None:
            certificates = self._folder / "certificates"
            certificates.mkdir(exist_ok=True)
            shutil.copy(self._tls.certificate, certificates / "public.crt")  # as MinIO names them
            shutil.copy(self._tls.key, certificates / "private.key")
            secured = ["--certs-dir", certificates]
        settings = {
            "MINIO_ROOT_USER": USER,
            "MINIO_ROOT_PASSWORD": PASSWORD,
            "MINIO_SITE_REGION": REGION,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        log = self._folder / "minio.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [minio(), "server", "--address", self._address, *secured, self._folder / "objects"],
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder), **settings},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """At once, as a machine that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It takes connections and never answers, until `thaw` or `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        while self._threads() != {"T"}:  # on a busy machine one may still answer
            time.sleep(0.01)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> Any:
        """boto3's, which is nobody's code of ours."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=USER,
            aws_secret_access_key=PASSWORD,
            verify=str(self._tls.authority) if self._tls else None,
        )

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def _threads(self) -> set[str]:
        """The states of its threads."""
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks}

    def _ready(self) -> bool:
        try:
            # Only whether it answers is asked.
            return httpx.get(f"{self.url}/minio/health/ready", trust_env=False, verify=False).is_success  # noqa: S501
        except httpx.TransportError:
            return False
