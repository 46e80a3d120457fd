"""What lies in object storage: the log of served requests, drift reports, and what MLflow registers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import s3fs

from components.datasets.intents import NEW_INTENTS
from monitoring.drift import reports
from tests.integration.monitoring.receiver import Home
from tests.integration.monitoring.test_drift_job import Served
from tests.integration.registry.documents import version_document
from tests.integration.storage.conftest import Environment
from tests.minio import Minio
from tests.ports import free_port
from tests.unit.gateway.test_inference_log import NOON, row
from tests.unit.train.test_base_model import make_model
from tidegate.adapters import object_storage, storage
from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.base_model_files import base_digest
from tidegate.adapters.mlflow_models import MlflowModels
from tidegate.adapters.mlflow_registry import ADAPTER_PATH, VERSION_PATH, MlflowRegistry
from tidegate.adapters.mlflow_server import mlflow_environment
from tidegate.errors import ContractBroken, Denied, NotFound, Unavailable
from tidegate.inference_log import read_window, write_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
HOUR = timedelta(hours=1)


def test_the_log_comes_back_by_window_and_its_parts_alone_lie_there(bucket: str, server: Minio) -> None:
    root = f"s3://{bucket}/log"
    written = write_rows(root, [row(NOON, "a"), row(NOON + HOUR, "b"), row(NOON, "c", model="other")])
    write_rows(root, [row(NOON + timedelta(minutes=1), "d")])
    assert read_window(root, "m", NOON, NOON + HOUR)["request_id"].to_pylist() == ["a", "d"]
    assert read_window(root, "m", NOON - HOUR, NOON + 2 * HOUR)["request_id"].to_pylist() == ["a", "d", "b"]
    assert read_window(root, "absent", NOON, NOON + HOUR).num_rows == 0
    keys = server.keys(bucket)
    assert {address.removeprefix(f"s3://{bucket}/") for address in written} <= set(keys)
    assert len(keys) == 4


def test_a_damaged_part_of_the_log_is_no_outage(bucket: str, server: Minio) -> None:
    root = f"s3://{bucket}/log"
    (address,) = write_rows(root, [row(NOON)])
    server.client().put_object(Bucket=bucket, Key=address.removeprefix(f"s3://{bucket}/"), Body=b"PAR1 no more")
    with pytest.raises(ContractBroken, match=f"{address} is no part of an inference log, or damaged"):
        read_window(root, "m", NOON, NOON + HOUR)


def test_a_base_model_is_fetched_like_all_storage_and_given_up_like_it(
    bucket: str, running: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model(tmp_path / "acme")
    for path in folder.iterdir():
        storage.upload(path, f"s3://{bucket}/acme/{path.name}")
    found = resolve_base_model(f"s3://{bucket}/acme", tmp_path / "cache")
    assert found.ref.digest == base_digest(folder)
    for name, value in (("_READ_SECONDS", 1), ("_TRIES", 1), ("_ROUNDS", 1)):
        monkeypatch.setattr(object_storage, name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    running.freeze()
    with pytest.raises(Unavailable, match=f"s3://{bucket}/acme cannot be used"):
        resolve_base_model(f"s3://{bucket}/acme", tmp_path / "another")
    running.thaw()


def test_a_log_that_cannot_be_reached_is_said_on_both_sides(
    bucket: str, running: Minio, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"s3://{bucket}/log"
    write_rows(root, [row(NOON)])
    running.freeze()
    with monkeypatch.context() as hurried:
        for name, value in (("_READ_SECONDS", 1), ("_WRITE_SECONDS", 3.0), ("_TRIES", 1), ("_ROUNDS", 1)):
            hurried.setattr(object_storage, name, value)
        _both_fail(root, Unavailable)
    running.thaw()
    environment(AWS_SECRET_ACCESS_KEY="not-it")
    _both_fail(root, Denied)
    environment(AWS_SECRET_ACCESS_KEY=running.environment["AWS_SECRET_ACCESS_KEY"])
    with pytest.raises(NotFound, match="there is no bucket 'nobody-made-it'"):
        write_rows("s3://nobody-made-it/log", [row(NOON)])


def _both_fail(root: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=root):
        write_rows(root, [row(NOON)])
    with pytest.raises(kind, match=root):
        read_window(root, "m", NOON, NOON + HOUR)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.db.close()


def test_a_drift_check_reads_the_log_there_and_leaves_its_report_there(bucket: str, server: Minio, home: Home) -> None:
    served = Served(home)
    log = served.settings.inference_log.model_copy(update={"uri": f"s3://{bucket}/log"})
    drift = served.settings.drift.model_copy(update={"keep_reports": 1})
    served.settings = served.settings.model_copy(
        update={"inference_log": log, "artifacts_uri": f"s3://{bucket}/artifacts", "drift": drift}
    )
    end = datetime(2026, 3, 1, 12, tzinfo=UTC)
    served.serve(1, 200, NEW_INTENTS, end=end)
    first, second = served.check(end=end), served.check(end=end)
    assert second.report.verdict == "drift"
    assert second.report.html_uri.startswith(f"s3://{bucket}/artifacts/drift/")
    assert "unseen_words_percent" in storage.read_text(second.report.html_uri)
    assert [report.id for report in reports.list_reports(served.settings)] == [second.report.id]
    assert not [key for key in server.keys(bucket) if first.report.id in key], "an old report was not deleted"


@pytest.fixture
def mlflow(bucket: str, tmp_path: Path) -> Iterator[str]:
    """A server as the chart runs it: artifacts in the bucket, and not proxied."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "mlflow.log"
    arguments = ("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--workers", "1", "--no-serve-artifacts",
                 "--default-artifact-root", f"s3://{bucket}/mlflow", "--port", str(port))  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments],
            env={**os.environ, **mlflow_environment(), "AWS_DEFAULT_REGION": os.environ["AWS_REGION"]},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 200
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_version_is_registered_read_and_listed_from_the_bucket(
    mlflow: str, bucket: str, server: Minio, tmp_path: Path
) -> None:
    models = MlflowModels(mlflow)
    pending = models.begin("intents", key="run-1", run_name="run-1", tags={})
    models.attach(pending, {"evaluation.html": b"<p>good</p>"})
    folder = tmp_path / "model"
    files = {f"{ADAPTER_PATH}/adapter_model.safetensors": b"weights", f"{ADAPTER_PATH}/adapter_config.json": b"{}"}
    document = version_document(name="intents", adapter_uri=storage.join(pending.location, ADAPTER_PATH))
    for name, content in {**files, VERSION_PATH: document.model_dump_json().encode()}.items():
        storage.write_bytes(str(folder / name), content)
    models.publish(pending, folder)
    registry = MlflowRegistry(mlflow, cache=tmp_path / "writer")
    made = registry.register(document, run_id=pending.run_id, idempotency_key="run-1")

    found = MlflowRegistry(mlflow, cache=tmp_path / "reader").get("intents", made.version)
    assert found.adapter.uri.startswith(f"s3://{bucket}/mlflow/")
    adapter = storage.local_path(found.adapter.uri, tmp_path / "cache")
    assert {f"{ADAPTER_PATH}/{path.name}": path.read_bytes() for path in adapter.iterdir()} == files
    listed = httpx.get(f"{mlflow}/api/2.0/mlflow/artifacts/list", params={"run_id": pending.run_id}, trust_env=False)
    assert [item["path"] for item in listed.json()["files"]] == ["evaluation.html"], listed.text


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False
