"""Runs a pipeline on this machine with `kfp.local`, in a process of its own.

A process of its own because `kfp.local` keeps global state, replaces `print` and imports slowly; the caller sees a
stream of events instead. Each step is again a process (`SubprocessRunner`), as each is a pod on a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tidegate.errors import TidegateError
from tidegate.wire import PROGRESS_MARK, error_from_line

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r" - INFO - Executing task '([^']+)'")
_FINISHED = re.compile(r" - (?:INFO|ERROR) - Task '([^']+)' finished with status (\w+)")
_NOISE = re.compile(r"^\s*$|^-{20,}$|^\d\d:\d\d:\d\d\.\d{3} - \w+ - ")
_STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """A step started, said a line, or finished (with its seconds)."""

    kind: Literal["started", "line", "succeeded", "failed"]
    step: str
    text: str = ""
    seconds: float = 0.0


class KfpLocalRunner:
    """The pipeline runner of the local profile."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def run(
        self,
        pipeline: str,
        arguments: Mapping[str, Any],
        *,
        run: str,
        on_event: Callable[[StepEvent], None],
        env: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Runs a pipeline to its end.

        Args:
            pipeline: `package.module:function` of a KFP pipeline.
            arguments: its parameters.
            run: the run's name; steps derive their job keys from it, so a second try re-attaches.
            on_event: called for every event, in order.
            env: more environment for the steps.

        Returns:
            The pipeline's outputs by name; artifacts as `{"uri", "metadata"}`.

        Raises:
            TidegateError: the failing step's own error, or what is known of it.
        """
        folder = self._home / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        request, result, log_path = folder / "request.json", folder / "outputs.json", folder / "pipeline.log"
        result.unlink(missing_ok=True)
        root = str(folder / "artifacts")
        request.write_text(json.dumps({"pipeline": pipeline, "arguments": dict(arguments), "root": root}))
        child = subprocess.Popen(  # noqa: S603 - argv is ours, no shell
            [sys.executable, "-m", "tidegate.adapters.kfp_local_child", str(request), str(result)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "TIDEGATE_HOME": str(self._home),
                "TIDEGATE_RUN": run,
                **(env or {}),
            },
            start_new_session=True,
        )
        try:
            reader = _Reader(on_event)
            assert child.stdout is not None
            with log_path.open("a", encoding="utf-8", buffering=1) as log:
                for raw in child.stdout:
                    line = _COLOUR.sub("", raw.rstrip("\n"))
                    log.write(line + "\n")
                    reader.feed(line)
            code = child.wait()
        finally:
            _end(child)
        if code == 0 and result.exists():
            outputs: dict[str, Any] = json.loads(result.read_text())
            return outputs
        if reader.error is not None:
            raise reader.error
        raise TidegateError(
            f"step {reader.step or 'before the first'!r} of run {run!r} ended with code {code} and said: "
            f"{reader.last_line or 'nothing'}",
            next_step=f"Read {log_path}.",
        )


class _Reader:
    """Turns kfp.local's output into events."""

    def __init__(self, on_event: Callable[[StepEvent], None]) -> None:
        self._on_event = on_event
        self._since = 0.0
        self.step = ""
        self.last_line = ""
        self.error: TidegateError | None = None

    def feed(self, line: str) -> None:
        if match := _STARTED.search(line):
            self.step, self._since = match.group(1), time.monotonic()
            self._on_event(StepEvent(kind="started", step=self.step))
        elif match := _FINISHED.search(line):
            good = match.group(2) == "SUCCESS"
            seconds = time.monotonic() - self._since
            self._on_event(StepEvent(kind="succeeded" if good else "failed", step=match.group(1), seconds=seconds))
        elif error := error_from_line(line):
            self.error = error
        elif PROGRESS_MARK in line:
            self._on_event(StepEvent(kind="line", step=self.step, text=line.partition(PROGRESS_MARK)[2].strip()))
        elif not _NOISE.search(line):
            self.last_line = line.strip()


def _end(child: subprocess.Popen[str]) -> None:
    """Ends the runner and its steps: they share the child's session, so its group reaches them all."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child.stdout is not None:
        child.stdout.close()
