"""Processes of the platform: found again by pid and start time, ended with all that they started."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tidegate.errors import Unavailable
from tidegate.local.process import Part, ProcessBook

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
PARENT = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[ProcessBook]:
    made = ProcessBook(tmp_path)
    yield made
    made.stop(made.names(), seconds=0.5)


def part(book: ProcessBook, code: str, name: str = "sleeper", ready_seconds: float = 20.0) -> Part:
    return Part(
        name=name,
        argv=[sys.executable, "-c", code],
        ready=lambda: bool(book.log_path(name).exists() and book.log_path(name).read_text().strip()),
        ready_seconds=ready_seconds,
    )


def test_a_started_part_is_found_by_another_book(book: ProcessBook, tmp_path: Path) -> None:
    process = book.start(part(book, SLEEPER))
    found = ProcessBook(tmp_path).running("sleeper")
    assert found is not None
    assert found.pid == process.pid


def test_stopping_ends_the_part_and_its_children(book: ProcessBook) -> None:
    wanted = part(book, PARENT)
    book.wait_ready(wanted, book.start(wanted))
    child = int(book.log_path("sleeper").read_text().split()[0])
    assert book.stop(["sleeper"]) == ["sleeper"]
    assert book.running("sleeper") is None
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_part_that_ignores_sigterm_is_killed(book: ProcessBook) -> None:
    wanted = part(book, STUBBORN)
    process = book.start(wanted)
    book.wait_ready(wanted, process)
    book.stop(["sleeper"], seconds=0.3)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_record_of_a_pid_that_belongs_to_another_program_is_dropped(book: ProcessBook, tmp_path: Path) -> None:
    record = tmp_path / "pids" / "gateway.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"pid": os.getpid(), "started": time.time() - 10_000, "argv": []}))
    assert book.running("gateway") is None
    assert book.names() == ["gateway"]  # looking changes nothing: whoever looks next must see that it died
    assert book.stop(["gateway"]) == []
    assert not record.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 999999999, "started": 1}'])
def test_a_broken_record_heals(book: ProcessBook, tmp_path: Path, text: str) -> None:
    record = tmp_path / "pids" / "gateway.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert book.running("gateway") is None
    assert book.stop(["gateway"]) == []
    assert not record.exists()


def test_a_part_that_exits_while_starting_says_why(book: ProcessBook) -> None:
    wanted = part(book, "raise SystemExit('the disk is on fire')", ready_seconds=20)
    process = book.start(wanted)
    process.wait(20)
    book.log_path("sleeper").rename(book.log_path("kept"))  # keeps `ready` false although something was said
    book.log_path("sleeper").write_text("")
    with pytest.raises(Unavailable, match="exited while starting") as caught:
        book.wait_ready(wanted, process)
    assert str(book.log_path("sleeper")) in caught.value.next_step


def test_a_part_that_is_never_ready_is_reported_with_its_limit(book: ProcessBook) -> None:
    wanted = Part(name="slow", argv=[sys.executable, "-c", SLEEPER], ready=lambda: False, ready_seconds=0.3)
    with pytest.raises(Unavailable, match="not ready after"):
        book.wait_ready(wanted, book.start(wanted))
