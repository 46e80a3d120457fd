"""The local run launcher with real child processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.integration.monitoring.receiver import wait_for
from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput, Unavailable

pytestmark = pytest.mark.integration

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def request(key: str = "retrain-1", attempts: int = 0) -> RetrainRequest:
    return RetrainRequest(key=key, model="m", reason="r", attempts=attempts, created_at=NOW, updated_at=NOW)


def launcher(home: Path, script: str) -> LocalRunLauncher:
    def command(_request: RetrainRequest) -> Sequence[str]:
        return ["/bin/sh", "-c", f'echo x >> "{home}/ran"; {script}']

    return LocalRunLauncher(home, command=command)


def times_run(home: Path) -> int:
    return (home / "ran").read_text().count("x") if (home / "ran").exists() else 0


def test_many_launchers_starting_one_request_at_once_run_it_once(tmp_path: Path) -> None:
    launchers = [launcher(tmp_path, "sleep 0.5") for _ in range(6)]
    runs: list[str] = []
    threads = [threading.Thread(target=lambda one=one: runs.append(one.start(request()))) for one in launchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == ["retrain-1"] * 6
    wait_for(lambda: launchers[0].state("retrain-1") == "succeeded", what="the run's end")
    assert launchers[1].start(request()) == "retrain-1"
    assert times_run(tmp_path) == 1
    assert (tmp_path / "logs" / "runs" / "retrain-1.log").exists()
    assert launchers[2].since("retrain-1") is not None


@pytest.mark.parametrize(
    ("script", "transient"),
    [("exit 6", False), (f"exit {Unavailable.exit_code}", True), ("kill -9 $$", True)],
)
def test_a_failure_says_whether_trying_again_can_help(tmp_path: Path, script: str, transient: bool) -> None:
    one = launcher(tmp_path, f"echo the gate said no; {script}")
    run = one.start(request())
    wait_for(lambda: one.state(run) == "failed", what="the run's end")
    failure = one.failure(run)
    assert failure is not None
    assert failure.transient is transient
    assert "the gate said no" in failure.reason


def test_a_run_goes_on_when_its_supervisor_is_killed_and_a_new_launcher_sees_it(tmp_path: Path) -> None:
    one = launcher(tmp_path, f'while ! test -f "{tmp_path}/go"; do sleep 0.05; done')
    run = one.start(request())
    wait_for(lambda: times_run(tmp_path) == 1, what="the command")
    supervisor = next(
        process
        for process in psutil.process_iter(["cmdline"])
        if "tidegate.adapters.run_supervisor" in (process.info["cmdline"] or []) and str(tmp_path) in str(process.info)
    )
    os.kill(supervisor.pid, signal.SIGKILL)
    another = launcher(tmp_path, "true")
    assert another.state(run) == "running"
    assert another.start(request()) == run
    assert times_run(tmp_path) == 1
    (tmp_path / "go").touch()
    wait_for(lambda: another.state(run) == "failed", what="the run's end")
    failure = another.failure(run)
    assert failure is not None
    assert failure.transient  # nobody saw how it ended: the effect is idempotent by key, so it is tried again


def test_another_attempt_is_another_run(tmp_path: Path) -> None:
    one = launcher(tmp_path, "true")
    assert one.start(request()) == "retrain-1"
    assert one.start(request(attempts=1)) == "retrain-1.2"
    wait_for(lambda: one.state("retrain-1.2") == "succeeded", what="the run's end")
    assert times_run(tmp_path) == 2


def test_a_run_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        launcher(tmp_path, "true").state("../../etc")
