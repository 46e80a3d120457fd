"""Several real processes on one database: one chain, one migration, one winner."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.ledger import Ledger

_APPEND = """
import sys
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.ledger import Draft, Ledger

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ledger = Ledger(Database.open(url), SystemClock())
for number in range(count):
    ledger.append("alias.set", f"{name}/{number}", {}, actor=name)
    ledger.append_many([Draft("pair.scored", f"{name}/{number}/{part}", {}, name) for part in range(3)])
"""
PROCESSES, ROUNDS = 3, 20


def run_together(url: str) -> None:
    commands = [[sys.executable, "-c", _APPEND, url, f"process-{number}", str(ROUNDS)] for number in range(PROCESSES)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem


@pytest.mark.integration
def test_processes_that_create_and_append_at_once_keep_one_chain(database_url: str) -> None:
    run_together(database_url)
    ledger = Ledger(Database.open(database_url), SystemClock())
    result = ledger.verify()
    assert result.ok, result.reason
    assert result.rows == PROCESSES * ROUNDS * 4
    for number in range(PROCESSES):
        own = [entry.subject for entry in ledger.entries(kind="alias.set") if entry.actor == f"process-{number}"]
        assert own == [f"process-{number}/{index}" for index in range(ROUNDS)]  # nothing lost, nothing reordered


_LEASE = """
import sys
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.store.leases import LeaseStore

print(LeaseStore(Database.open(sys.argv[1]), SystemClock()).acquire("controller", sys.argv[2], 600))
"""


@pytest.mark.integration
def test_of_processes_that_want_a_lease_at_once_one_gets_it(database_url: str) -> None:
    commands = [[sys.executable, "-c", _LEASE, database_url, f"holder-{number}"] for number in range(PROCESSES)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    answers = sorted(process.communicate(timeout=120)[0].strip() for process in running)
    assert answers == ["1", *["None"] * (PROCESSES - 1)]
