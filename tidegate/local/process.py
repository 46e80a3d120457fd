"""One part of the embedded platform as an operating-system process: started, found again, stopped by its own pid.

A record file remembers pid *and* start time, so that a pid that the system gave to another program in the meantime is
never taken for ours: such a record is stale and heals by being dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tidegate.errors import Unavailable

_START_TIME_TOLERANCE_SECONDS = 1.0
_POLL_SECONDS = 0.25
_LOG_TAIL_LINES = 1
"""The cause stands in the last line; what is above it is a traceback, which the log keeps."""
_STOP_SECONDS = 18.0
_KILLED_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """What to start and how to know that it is ready."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool]
    ready_seconds: float = 120.0
    restarts: int = 0
    """How often to start it again when it exits while starting."""


class ProcessBook:
    """Records of running parts: `<home>/pids/<name>.json`, logs: `<home>/logs/<name>.log`."""

    def __init__(self, home: Path) -> None:
        self._pids = home / "pids"
        self._logs = home / "logs"

    def log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def running(self, name: str) -> psutil.Process | None:
        """The live process of a part; None when it has none, or when its record is stale."""
        path = self._pids / f"{name}.json"
        try:
            record = json.loads(path.read_text())
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["started"])) < _START_TIME_TOLERANCE_SECONDS
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except (FileNotFoundError, psutil.NoSuchProcess, psutil.AccessDenied, ValueError, KeyError, TypeError):
            pass
        return None

    def names(self) -> list[str]:
        """Names of all parts with a record, live or stale."""
        return sorted(path.stem for path in self._pids.glob("*.json"))

    def start(self, part: Part) -> psutil.Process:
        """Starts a part in a session of its own, its output appended to its log."""
        self._pids.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log_path(part.name).open("ab") as log:
            popen = subprocess.Popen(  # noqa: S603 - argv is ours, no shell
                list(part.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **part.env},
                start_new_session=True,  # Ctrl-C at the terminal is for us to handle, not for the parts
            )
        process = psutil.Process(popen.pid)
        record = {"pid": popen.pid, "started": process.create_time(), "argv": list(part.argv)}
        _write_atomically(self._pids / f"{part.name}.json", json.dumps(record))
        return process

    def wait_ready(self, part: Part, process: psutil.Process) -> None:
        """Waits until the part says that it is ready.

        Raises:
            Unavailable: when it exits or the time runs out, with the end of its log.
        """
        deadline = time.monotonic() + part.ready_seconds
        while not part.ready():
            if not _alive(process):
                raise Unavailable(
                    f"{part.name} exited while starting; its log ends with: {self.log_tail(part.name)}",
                    next_step=f"Read {self.log_path(part.name)}, then run `tidegate up` again.",
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{part.name} was not ready after {part.ready_seconds:g} s; its log ends with: "
                    f"{self.log_tail(part.name)}",
                    next_step=f"Read {self.log_path(part.name)}, then run `tidegate up` again.",
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, names: Iterable[str], seconds: float = _STOP_SECONDS) -> list[str]:
        """Ends parts and all that they started: SIGTERM to each at once, SIGKILL to what is left after `seconds`.

        Stale records of the named parts go too.

        Returns:
            The names of those that ran.
        """
        wanted = list(names)
        found = {name: process for name in wanted if (process := self.running(name)) is not None}
        # The families are taken down before anything is ended: children outlive their parent (Ray's workers).
        family = [member for process in found.values() for member in (process, *_children(process))]
        for process in found.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        psutil.wait_procs(list(found.values()), timeout=seconds)
        family += [child for member in family if _alive(member) for child in _children(member)]
        rest = [member for member in family if _alive(member)]
        for member in rest:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(rest, timeout=_KILLED_SECONDS)
        for name in wanted:
            (self._pids / f"{name}.json").unlink(missing_ok=True)
        return list(found)

    def log_tail(self, name: str, lines: int = _LOG_TAIL_LINES) -> str:
        """The last lines of a part's log."""
        try:
            with self.log_path(name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16_384))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:]) or "(an empty log)"


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)
