"""The real Alertmanager posts to the real receiver."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from monitoring.alerts.sources.alertmanager import fingerprint
from monitoring.retraining.policy import ACTION_LABEL
from tests.alertmanager import NoGo, alertmanager, configuration
from tests.integration.monitoring.conftest import StartReceiver
from tests.integration.monitoring.receiver import Home, wait_for
from tests.ports import free_port

pytestmark = pytest.mark.integration

LABELS = {"alertname": "ModelDrift", "model": "banking-intent", "severity": "warning", ACTION_LABEL: "retrain"}


@pytest.fixture(scope="session")
def alertmanager_binary() -> Path:
    try:
        return alertmanager()
    except NoGo as why:
        pytest.skip(str(why))


@pytest.fixture
def alertmanagers(alertmanager_binary: Path, home: Home) -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.kill()
        process.wait()


def _start(binary: Path, folder: Path, receiver_url: str, token: str) -> tuple[subprocess.Popen[bytes], str]:
    folder.mkdir()
    (folder / "alertmanager.yml").write_text(configuration(receiver_url, token))
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen(
        [
            str(binary),
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: _ready(url), what="Alertmanager")
    return process, url


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False


def _post(url: str, starts_at: datetime, ends_at: datetime | None = None) -> None:
    alert = {"labels": LABELS, "annotations": {"summary": "new intents"}, "startsAt": starts_at.isoformat()}
    if ends_at:
        alert["endsAt"] = ends_at.isoformat()
    httpx.post(f"{url}/api/v2/alerts", json=[alert]).raise_for_status()


def test_a_pair_of_alertmanagers_with_the_receiver_down_at_first_retrains_exactly_once(
    home: Home,
    start_receiver: StartReceiver,
    alertmanager_binary: Path,
    alertmanagers: list[subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    receiver = start_receiver()
    receiver.kill()
    urls = []
    for number in range(2):  # without a cluster between them both send everything: the worst case of a pair
        process, url = _start(alertmanager_binary, tmp_path / f"am-{number}", receiver.url, home.token)
        alertmanagers.append(process)
        urls.append(url)
    starts_at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    for url in urls:
        _post(url, starts_at)
    time.sleep(3)  # both try in vain, and again
    receiver.start()
    wait_for(lambda: "succeeded" in home.statuses().values(), seconds=60, what="a finished retraining")
    wait_for(lambda: len(home.alerts.deliveries()) >= 4, seconds=60, what="repeated deliveries")
    (stored,) = home.alerts.alerts()
    assert stored.alert.fingerprint == fingerprint(LABELS)
    assert stored.alert.starts_at == starts_at
    assert stored.alert.ends_at is None
    for url in urls:
        _post(url, starts_at, datetime.now(UTC))
    wait_for(lambda: len(home.alerts.alerts()) == 2, seconds=60, what="the resolved alert")
    resolved = home.alerts.alerts()[0].alert
    assert resolved.status == "resolved"
    assert resolved.ends_at is not None
    wait_for(lambda: not home.alerts.pending(), what="its outcome")
    assert len(home.trained()) == 1
    assert list(home.statuses().values()) == ["succeeded"]
