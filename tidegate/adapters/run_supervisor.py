"""Runs one command as one retraining run, whoever started it and however often: the lock file is the run.

Started as `python -m tidegate.adapters.run_supervisor FOLDER -- COMMAND…` in a session of its own. It takes an
exclusive lock on `FOLDER/lock` (a second supervisor of the same run leaves at once), writes `started.json`, runs the
command with the lock inherited, and leaves `exit.json`. The kernel drops the lock only when the last process of the
run is gone, so the lock tells "still running" even when this process was killed and its child was not.

Standard library only: a run must start while the machine is busy.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

LOCK, STARTED, EXIT, LOG = "lock", "started.json", "exit.json", "run.log"
_POLL_SECONDS = 0.01
_USAGE_ERROR = 64  # EX_USAGE of sysexits.h


def main(argv: list[str]) -> int:
    """The supervisor's exit status is the command's; 0 when the run belongs to another supervisor."""
    if len(argv) < 3 or argv[1] != "--":
        return _USAGE_ERROR
    folder, command = Path(argv[0]), argv[2:]
    with (folder / LOCK).open("a") as lock:
        while not _taken(lock.fileno()):
            if (folder / STARTED).exists():
                return 0
            time.sleep(_POLL_SECONDS)  # somebody only looks whether the run is alive, or is about to begin it
        if (folder / STARTED).exists():
            return 0  # it ran before, and ended or was killed: a run happens once
        write_json(folder / STARTED, {"pid": os.getpid(), "time": _now(), "command": command})
        code = _run(command, lock.fileno(), folder)
        write_json(folder / EXIT, {"code": code, "time": _now()})
    return code if code >= 0 else 128 - code


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replaces a file atomically and makes it durable."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _run(command: list[str], lock: int, folder: Path) -> int:
    """The command's return code; negative for the signal that ended it. SIGTERM is handed on to it."""
    with (folder / LOG).open("ab") as log:
        try:
            child = subprocess.Popen(  # noqa: S603 - the command comes from our own adapter
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock,)
            )
        except OSError as error:
            log.write(f"{command[0]} cannot be started: {error}\n".encode())
            return 127

        def hand_on(signum: int, _frame: FrameType | None) -> None:
            child.send_signal(signum)

        signal.signal(signal.SIGTERM, hand_on)
        return child.wait()


def _now() -> str:
    return datetime.now(UTC).isoformat()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
