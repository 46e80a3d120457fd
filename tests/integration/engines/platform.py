"""A Ray of the tests' own and small helpers around it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from tests.ports import free_ports
from tidegate.adapters.ray_head import RayPorts, ray_head_command
from tidegate.plane_settings import TrainingSettings
from tidegate.settings import Settings

Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found | None], *, seconds: float) -> Found:
    """The first thing found that is true; fails naming what was looked for."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


@contextmanager
def ray_head(home: Path, *, gpus: int = 0) -> Iterator[Settings]:
    """A token-authenticated Ray head that counts `gpus` GPUs; ends with everything that it started."""
    *ports, engine = free_ports(len(RayPorts.names()) + 1)
    named = RayPorts(**dict(zip(RayPorts.names(), ports, strict=True)))
    settings = Settings(
        home=home,
        training=TrainingSettings(gpus=gpus),
        ray_address=f"127.0.0.1:{named.gcs}",
        ray_dashboard_url=f"http://127.0.0.1:{named.dashboard}",
        engine_url=f"http://127.0.0.1:{engine}",
    )
    command, environment = ray_head_command(settings, named)
    with (home / "ray.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | environment | {"TIDEGATE_TRAINING__GPUS": str(gpus)},  # its workers read it there
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until("Ray Serve can be asked", lambda: _answers(settings, process), seconds=240)
        yield settings
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(settings: Settings, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (settings.home / "ray.log").read_text()[-2000:]
    try:
        return serve_applications(settings).is_success
    except httpx.HTTPError:
        return False


def serve_applications(settings: Settings) -> httpx.Response:
    """What Ray Serve says of everything that it runs."""
    headers = {"authorization": f"Bearer {settings.ray_token_path.read_text()}"}
    return httpx.get(f"{settings.ray_dashboard_url}/api/serve/applications/", headers=headers, timeout=60)
