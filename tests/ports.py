"""Ports that nobody listens on now, and that no other test is given either.

Groups of tests run beside each other, and what a test starts may listen only half a minute after its port was chosen:
each process takes ports out of a block of its own, and each of them once.
"""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
from pathlib import Path
from typing import IO

from tidegate.local import ports
from tidegate.local.ports import LOOPBACK

_FIRST, _BLOCKS, _SIZE = 10_000, 12, 500
"""Below what `tidegate up` chooses from."""
_given: set[int] = set()


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Different ones."""
    block, _ = _own_block()
    found = ports.free_ports(count, host, among=block, taken=_given)
    _given.update(found)
    return found


def free_port(host: str = LOOPBACK) -> int:
    return free_ports(1, host)[0]


@functools.cache
def _own_block() -> tuple[range, IO[str]]:
    """This process' ports, and the lock that says so as long as it lives."""
    folder = Path(tempfile.gettempdir()) / f"tidegate-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in range(_BLOCKS):
        lock = (folder / str(number)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return range(_FIRST + number * _SIZE, _FIRST + (number + 1) * _SIZE), lock
    raise RuntimeError(f"{_BLOCKS} processes that run tests have all ports of tests")
