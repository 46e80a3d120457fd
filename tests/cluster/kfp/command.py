"""The command `tidegate`, as a person runs it on a machine outside of the cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.kfp.platform import Platform
from tests.cluster.node import ROOT


class Command:
    """Told of one cluster by its environment."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def ok(self, *arguments: str) -> str:
        """Standard output of a call that must succeed."""
        done = self._run(arguments, {})
        assert done.returncode == 0, f"tidegate {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def refused(self, *arguments: str, **environment: str) -> str:
        """What a call says that must not succeed, as one line."""
        done = self._run(arguments, environment)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return " ".join(done.stderr.split())

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """A call that goes on; both its outputs go to the log."""
        with log.open("wb") as file:
            return subprocess.Popen(
                self._argv(arguments), env=self._environment({}), stdout=file, stderr=subprocess.STDOUT, cwd=ROOT
            )

    def _run(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv(arguments),
            env=self._environment(environment),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=600,
        )

    @staticmethod
    def _argv(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "tidegate.cli.main", *arguments]

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        own = {"PYTHONPATH": str(ROOT), "NO_PROXY": "*", "COLUMNS": "200", "NO_COLOR": "1"}
        return {**kept, **own, **self.platform.environment, **more}
