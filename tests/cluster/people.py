"""People of docs/cluster.md at a machine of theirs: kubectl with their own rights, curl, the command `tidegate`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml

from tests.cluster.node import ROOT, Node


@dataclass(frozen=True)
class Person:
    """Whose commands run in a shell. A group: what the API server lets its members do; without one, everything."""

    node: Node
    home: Path
    group: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: str, environment: Mapping[str, str] = MappingProxyType({}), seconds: float = 120) -> str:
        """Standard output of commands that must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=self._environment(environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """`kubectl port-forward` to a free port; HOST:PORT of it."""
        command = ["kubectl", "-n", namespace, "port-forward", f"service/{service}", f":{port}"]
        with self._background(command) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", line)
            assert found, f"{' '.join(command)}: {line}{process.stdout.read()}"
            yield f"localhost:{found[1]}"

    @contextmanager
    def again_and_again(self, script: str, environment: Mapping[str, str]) -> Iterator[None]:
        """Runs a script over and over meanwhile; what it says of failures is added to a failure of the test."""
        log = self.home / "again-and-again.log"
        command = ["bash", "-c", f"while :; do (\n{script}\n); done > '{log}' 2>&1"]
        try:
            with self._background(command, environment):
                yield
        except AssertionError as error:
            error.add_note(f"the script said:\n{log.read_text()[-2000:]}")
            raise

    @contextmanager
    def _background(
        self, command: list[str], environment: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[subprocess.Popen[str]]:
        made = self._environment(environment)
        process = subprocess.Popen(
            command, env=made, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=30)
            if process.stdout is not None:
                process.stdout.close()

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "AWS_"))}
        path = f"{Path(sys.executable).parent}:{self.node.programs}:{os.environ['PATH']}"
        own = {"PATH": path, "KUBECONFIG": str(self._kubeconfig()), "NO_PROXY": "*", "NO_COLOR": "1", "COLUMNS": "200"}
        return {**kept, **own, "PYTHONPATH": str(ROOT), **self.environment, **more}

    def _kubeconfig(self) -> Path:
        if not self.group:
            return self.node.kubeconfig
        content = yaml.safe_load(self.node.kubeconfig.read_text())
        for user in content["users"]:
            user["user"] |= {"as": "anna", "as-groups": [self.group]}
        made = self.home / f"kubeconfig-{self.group}"
        made.write_text(yaml.safe_dump(content))
        return made
