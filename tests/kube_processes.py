"""Programs that a test starts and that never outlive it, however it ends."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

_ENDED_WITHIN = 15.0


class GuardedProcesses:
    """Programs by name, with a log each.

    Beside them runs a guard whose standard input is a pipe from this process. It closes when this process ends in any
    way, SIGKILL included, and the guard then kills them by their ids.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def start(self, program: Path, *arguments: str) -> None:
        """Starts a program, known by its file's name; one that runs is left alone."""
        if program.name in self._running:
            return
        with self.log(program.name).open("ab") as log:
            self._running[program.name] = subprocess.Popen(
                [program, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ^C reaches the tests, which then end these in order
            )
        self._watch_over()

    def end(self, name: str) -> None:
        """SIGTERM, and after 15 s SIGKILL."""
        process = self._running.pop(name, None)
        if process is not None:
            process.terminate()
            try:
                process.wait(_ENDED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._watch_over()

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()
            self._watch_over()

    def signal(self, name: str, number: signal.Signals) -> None:
        process = self._running.get(name)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def ended(self) -> dict[str, int]:
        """Exit codes of those that ended by themselves."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def _watch_over(self) -> None:
        """A guard over those that run now, in place of the one before."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None
        if self._running:
            self._guard = subprocess.Popen(
                ["sh", "-c", 'cat > /dev/null; kill -9 "$@"', "guard", *map(str, self.pids.values())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
