"""The real Alertmanager: built once with Go and kept in the user's cache (50 s on 2 cores when it is not there)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

VERSION = "v0.28.1"  # later ones lack the built UI as a Go module
_MODULE = f"github.com/prometheus/alertmanager/cmd/alertmanager@{VERSION}"


class NoGo(Exception):
    """There is no Go to build it with."""


def alertmanager() -> Path:
    """The program; static, so that an image of it needs nothing else.

    Raises:
        NoGo: it is not there and cannot be built.
    """
    folder = Path.home() / ".cache" / "tidegate" / "alertmanager" / VERSION
    program = folder / "alertmanager"
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            raise NoGo("no Go toolchain: the real Alertmanager cannot be built")
        began = time.monotonic()
        built = subprocess.run(
            [go, "install", _MODULE],
            env={**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr
        print(f"built Alertmanager {VERSION} in {time.monotonic() - began:.0f} s")  # noqa: T201 - a measurement for who reads the log
    return program


def configuration(receiver_url: str, token: str) -> str:
    """Everything at once to one receiver of ours, and again every two seconds: the worst that a real one would do."""
    return f"""
route: {{receiver: tidegate, group_by: [alertname, model], group_wait: 0s, group_interval: 1s, repeat_interval: 2s}}
receivers:
  - name: tidegate
    webhook_configs:
      - url: {receiver_url}/v1/alerts/alertmanager
        send_resolved: true
        http_config: {{authorization: {{type: Bearer, credentials: {token}}}}}
"""
