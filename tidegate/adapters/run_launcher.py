"""RunLauncher of the local profile: a retraining is a child process in a session of its own, re-attached by its lock.

The receiver may die and come back at any moment: what a run is doing is read from its folder
(`<home>/runs/<run>/`: lock, started.json, exit.json, run.log), never from memory, and starting a run that exists
attaches to it. See `tidegate.adapters.run_supervisor` for how that is made exact.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tidegate.adapters.retrain_runs import run_name
from tidegate.adapters.run_supervisor import EXIT, LOCK, LOG, STARTED
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput, ResourceExhausted, Unavailable
from tidegate.ports import RunFailure, unclaimed

Command = Callable[[RetrainRequest], Sequence[str]]

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_TAIL_BYTES = 2000
# A run that fails with one of these may succeed when it is tried again; any other status is the run's own verdict.
_TERMINATED = 128 + signal.SIGTERM
_TRANSIENT_CODES = frozenset({Unavailable.exit_code, ResourceExhausted.exit_code, _TERMINATED})


def retrain_command(request: RetrainRequest) -> list[str]:
    """The command that a retraining is: the CLI of this very installation."""
    return [sys.executable, "-m", "tidegate.cli.main", "run", "retrain", "--request", request.key]


class LocalRunLauncher:
    """Runs below `<home>/runs`, logs linked as `<home>/logs/runs/<run>.log`.

    Args:
        home: the state folder; the child gets it as TIDEGATE_HOME.
        command: what a request runs.
        env: additions to the child's environment.
    """

    def __init__(self, home: Path, *, command: Command = retrain_command, env: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._command = command
        self._env = dict(env or {})
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, request: RetrainRequest, *, claim: Callable[[], None] = unclaimed) -> str:
        """Starts the run of this request, or attaches to it. The lock file is the claim, for any number of launchers.

        The id is the key; after n failed attempts (`request.attempts`) it is `<key>.<n + 1>`, a new run.

        Raises:
            Unavailable: the supervisor did not come up.
            ResourceExhausted: no room for the run's folder or no process to be had.
        """
        del claim
        run = run_name(request)
        folder = self._folder(run)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._link_log(run, folder)
            if not (folder / STARTED).exists():
                self._spawn(folder, self._command(request))
        except OSError as error:
            raise ResourceExhausted(
                f"run {run} cannot be started: {error}", next_step="Free disk space, memory or processes."
            ) from None
        return run

    def state(self, run: str) -> Literal["running", "succeeded", "failed"]:
        """From the run's folder alone; a run that left no exit status and holds no lock was killed: failed."""
        self._reap()
        folder = self._folder(run)
        code = _exit_code(folder)
        if code is None and _locked(folder):
            return "running"
        if code is None:
            code = _exit_code(folder)  # it may have ended between the two looks
        return "succeeded" if code == 0 else "failed"

    def failure(self, run: str) -> RunFailure | None:
        """Why a failed run failed, and whether trying again can help; None for any other state."""
        if self.state(run) != "failed":
            return None
        folder = self._folder(run)
        code = _exit_code(folder)
        tail = _last_line(folder / LOG)
        if code is None or code < 0:
            how = f"was ended by {signal.Signals(-code).name}" if code else "was killed with its supervisor"
            return RunFailure(reason=f"run {run} {how}; {tail}", transient=True)
        return RunFailure(reason=f"run {run} ended with status {code}; {tail}", transient=code in _TRANSIENT_CODES)

    def since(self, run: str) -> datetime | None:
        """When the run started; None when it never did."""
        record = _read(self._folder(run) / STARTED)
        return datetime.fromisoformat(record["time"]) if record else None

    def stop_all(self, seconds: float = 10.0) -> list[str]:
        """Ends every run that is going on: SIGTERM, and SIGKILL to what is left of it after `seconds`.

        Returns:
            The runs that were going on. Their requests are tried again: a run that was ended is a transient failure.
        """
        folders = [path.parent for path in sorted((self._home / "runs").glob(f"*/{STARTED}")) if _locked(path.parent)]
        for folder in folders:
            _signal(folder, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while any(map(_locked, folders)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for folder in filter(_locked, folders):
            _signal(folder, signal.SIGKILL, group=True)
        return [folder.name for folder in folders]

    def log_path(self, run: str) -> Path:
        return self._folder(run) / LOG

    def _folder(self, run: str) -> Path:
        if not _RUN_NAME.fullmatch(run):
            raise InvalidInput(f"{run!r} is no name of a run", next_step="Use a name that 'tidegate alerts' prints.")
        return self._home / "runs" / run

    def _spawn(self, folder: Path, command: Sequence[str]) -> None:
        child = subprocess.Popen(  # noqa: S603 - fixed module, command from our own adapter
            [sys.executable, "-m", "tidegate.adapters.run_supervisor", str(folder), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **self._env, "TIDEGATE_HOME": str(self._home)},
        )
        self._children.append(child)
        deadline = time.monotonic() + _START_SECONDS
        while not (folder / STARTED).exists():
            if child.poll() is not None and not (folder / STARTED).exists() and not _locked(folder):
                raise Unavailable(
                    f"the supervisor of {folder.name} ended with status {child.returncode} before the run began",
                    next_step="It is tried again; see the receiver's log.",
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"run {folder.name} did not begin within {_START_SECONDS:.0f} s",
                    next_step="It is tried again; check the machine's load.",
                )
            time.sleep(_POLL_SECONDS)

    def _link_log(self, run: str, folder: Path) -> None:
        logs = self._home / "logs" / "runs"
        logs.mkdir(parents=True, exist_ok=True)
        link = logs / f"{run}.log"
        with contextlib.suppress(FileExistsError):  # a rerun's, or another launcher was quicker
            link.symlink_to(folder / LOG)

    def _reap(self) -> None:
        """Collects ended children, so that none stays a zombie."""
        self._children = [child for child in self._children if child.poll() is None]


def _signal(folder: Path, number: signal.Signals, *, group: bool = False) -> None:
    """To the supervisor, which hands SIGTERM on; or to all of its session."""
    pid = int((_read(folder / STARTED) or {"pid": 0})["pid"])
    if pid:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(pid, number)


def _locked(folder: Path) -> bool:
    """Whether some process of the run is alive."""
    try:
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _exit_code(folder: Path) -> int | None:
    record = _read(folder / EXIT)
    return int(record["code"]) if record else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return f"it wrote no log ({log})"
    return f"last line of {log}: {lines[-1]}" if lines else f"its log is empty ({log})"
