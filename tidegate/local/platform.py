"""The embedded platform: `up` starts what does not run, `down` ends all of it, `status` tells.

One state folder holds everything. `up` is idempotent: a part that runs is left alone, a dead one is started again, a
stale record heals. Ports are found once and remembered, so that addresses survive a restart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil

from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.api_keys import ensure_default_keys
from tidegate.attestation import load_or_create_key
from tidegate.errors import Conflict, ResourceExhausted, Unavailable
from tidegate.local.parts import PARTS, PORT_NAMES, build_parts, endpoints
from tidegate.local.ports import allocate, read_ports
from tidegate.local.process import Part, ProcessBook
from tidegate.platform_file import read_platform_file, write_platform_file
from tidegate.settings import Settings, load_settings, variable

Report = Callable[[str], None]
_NEEDED_DISK_BYTES = 2 << 30
"""Room for one demo: MLflow's artifacts with one stored base (0.3 GB), Ray's session and spill, logs."""


@dataclass(frozen=True, kw_only=True)
class PartStatus:
    """One part as `tidegate status` shows it."""

    name: str
    state: Literal["running", "starting", "stopped", "dead"]
    purpose: str
    address: str | None
    pid: int | None
    started: datetime | None
    memory_bytes: int | None
    log: Path


class LocalPlatform:
    """Starts, finds and stops the parts under one state folder."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = load_settings(home).home
        self.book = ProcessBook(self.home)

    @property
    def settings(self) -> Settings:
        """The settings as the parts see them, with the ports found."""
        return load_settings(self.home)

    def up(self, report: Report, *, wait_for: Iterable[str] | None = None) -> list[str]:
        """Starts every part that does not run and waits for those in `wait_for` (None: for all).

        Returns:
            The names of the parts that were started; empty when everything ran already.

        Raises:
            ResourceExhausted: too little disk, no free port.
            Unavailable: a part does not come up; the message carries the end of its log.
        """
        with self._lock():
            _check_disk(self.home)
            parts = self._plan()
            _ensure_secrets(self.settings)
            started = []
            for part in parts:
                if self.book.running(part.name) is None:
                    self.book.start(part)
                    started.append(part.name)
                    report(f"starting {part.name}")
            if "ray" in started:
                # The workers warm up (imports of 10 s and more) while the other parts start.
                self._await(next(part for part in parts if part.name == "ray"))
                self._start_workers()
            self.wait(wait_for if wait_for is not None else [part.name for part in parts], report, parts=parts)
        return started

    def wait(self, names: Iterable[str], report: Report, *, parts: list[Part] | None = None) -> None:
        """Waits until the named parts are ready.

        Raises:
            Unavailable: one of them does not run or does not become ready.
        """
        wanted = set(names)
        for part in parts if parts is not None else self._plan():
            if part.name in wanted:
                self._await(part)
                report(f"{part.name} is ready")

    def down(self, report: Report) -> list[str]:
        """Ends every part and what they started. State stays; `up` goes on with it."""
        with self._lock():
            runs = LocalRunLauncher(self.home)
            # The receiver first, or it would start again what is ended here.
            stopped = self.book.stop(["receiver"])
            stopped += runs.stop_all()
            stopped += self.book.stop(self.book.names())
            for name in stopped:
                report(f"stopped {name}")
        return stopped

    def status(self) -> list[PartStatus]:
        """Every part's state; `dead` is a part that has a record but no process."""
        settings = self.settings
        recorded = set(self.book.names())
        result = []
        for info in PARTS:
            process = self.book.running(info.name)
            address = getattr(settings, info.setting) if info.setting else None
            result.append(
                PartStatus(
                    name=info.name,
                    state="running" if process else "dead" if info.name in recorded else "stopped",
                    purpose=info.purpose,
                    address=address if process else None,
                    pid=process.pid if process else None,
                    started=datetime.fromtimestamp(process.create_time(), UTC) if process else None,
                    memory_bytes=_memory(process) if process else None,
                    log=self.book.log_path(info.name),
                )
            )
        return result

    def _plan(self) -> list[Part]:
        """Finds ports, writes `platform.json`, and builds the parts from it."""
        remembered = read_platform_file(self.home)
        live = [name for name in self.book.names() if self.book.running(name)]
        held = [port for port in PORT_NAMES if port.partition("_")[0] in live or (port == "engine" and "ray" in live)]
        settings = self.settings
        fixed = {
            part: getattr(settings, f"{part}_port")
            for part in ("gateway", "receiver")
            if os.environ.get(variable(f"{part}_port"))
        }
        ports = allocate(PORT_NAMES, read_ports(remembered.get("ports")), held, fixed)
        write_platform_file(self.home, {**remembered, **endpoints(ports), "ports": ports})
        return build_parts(self.settings, ports)

    def _await(self, part: Part) -> None:
        for restarts_left in range(part.restarts, -1, -1):
            process = self.book.running(part.name)
            if process is None:
                raise Unavailable(
                    f"{part.name} does not run; its log ends with: {self.book.log_tail(part.name)}",
                    next_step="Run `tidegate up` to start it again.",
                )
            try:
                self.book.wait_ready(part, process)
            except Unavailable:
                if not restarts_left or self.book.running(part.name) is not None:
                    raise
                self.book.start(part)
            else:
                return

    def _start_workers(self) -> None:
        from tidegate.adapters.ray_compute import start_workers  # noqa: PLC0415 - imports Ray

        start_workers(self.settings)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "platform.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"another tidegate command is starting or stopping the platform under {self.home}",
                    next_step="Wait until it is done, then try again.",
                ) from None
            yield


def _memory(process: psutil.Process) -> int:
    """Resident bytes of a process and all that it started; what ends meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += member.memory_info().rss
    return total


def _ensure_secrets(settings: Settings) -> None:
    """Makes the keys that several parts share, before any of them asks."""
    load_or_create_key(settings.attestation_key_path)
    ensure_default_keys(settings.api_keys_path)


def _check_disk(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < _NEEDED_DISK_BYTES:
        raise ResourceExhausted(
            f"{home} has {free / 2**30:.1f} GiB of disk left, "
            f"and the platform needs {_NEEDED_DISK_BYTES / 2**30:.0f} GiB",
            next_step="Free some room, or name another folder with TIDEGATE_HOME.",
        )
