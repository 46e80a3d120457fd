from pathlib import Path
from typing import Any

import pytest

from tests.unit.train import job_functions
from tidegate.adapters.job_table import JobTable
from tidegate.clock import ManualClock
from tidegate.errors import Conflict
from tidegate.ports import JobSpec
from tidegate.wire import error_from_dict

FUNCTIONS = "tests.unit.train.job_functions"


def job(key: str, function: str, **payload: Any) -> JobSpec:
    return JobSpec(key=key, entrypoint=f"{FUNCTIONS}:{function}", payload=payload)


def ended(table: JobTable, key: str) -> dict[str, Any]:
    while True:
        news = table.poll(key, 10**6)
        assert news is not None
        if news["state"] in {"succeeded", "failed"}:
            whole = table.poll(key, 0)
            assert whole is not None
            return whole


@pytest.fixture
def table(tmp_path: Path) -> JobTable:
    job_functions.gate.clear()
    job_functions.calls.clear()
    return JobTable(preload=("json", "no_such_module"), logs=tmp_path / "jobs", clock=ManualClock())


def test_progress_is_told_from_the_beginning_to_whoever_comes_late(table: JobTable) -> None:
    table.submit(job("run/a", "count", to=3))
    whole = ended(table, "run/a")
    assert [line["message"] for line in whole["lines"]] == ["number 0", "number 1", "number 2"]
    assert whole["lines"][2]["numbers"] == {"number": 2.0}
    assert whole["result"]["sum"] == 3


def test_a_job_does_not_wait_for_the_rest_of_the_preload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = "import time\nfrom pathlib import Path\nwhile not Path({!r}).exists():\n    time.sleep(0.01)\n"
    for name in ("first", "second"):
        (tmp_path / f"slow_{name}.py").write_text(wait.format(str(tmp_path / name)))
    monkeypatch.syspath_prepend(str(tmp_path))
    table = JobTable(preload=("slow_first", "slow_second"), logs=tmp_path / "jobs", clock=ManualClock())
    table.submit(job("run/a", "count", to=3))
    (tmp_path / "first").touch()
    assert ended(table, "run/a")["state"] == "succeeded"
    assert not table.status()["warm"]
    (tmp_path / "second").touch()


def test_a_key_is_one_piece_of_work(table: JobTable) -> None:
    for _ in range(3):
        table.submit(job("run/a", "count", to=1, name="once"))
        ended(table, "run/a")
    assert job_functions.calls == ["once"]
    with pytest.raises(Conflict, match="run/a"):
        table.submit(job("run/a", "count", to=2))


def test_a_failed_job_may_run_again(table: JobTable) -> None:
    table.submit(job("run/a", "count", name="again", to="no number"))
    assert ended(table, "run/a")["state"] == "failed"
    table.submit(job("run/a", "count", name="again", to="no number"))
    ended(table, "run/a")
    assert job_functions.calls == ["again", "again"]


def test_jobs_run_one_after_another_and_can_be_looked_at_meanwhile(table: JobTable) -> None:
    table.submit(job("run/a", "hold"))
    table.submit(job("run/b", "count", to=1))
    first = table.poll("run/a", 0)
    second = table.poll("run/b", 0)
    assert first is not None
    assert second is not None
    assert (first["state"], second["state"]) == ("running", "queued")
    assert table.status()["active"] == ["run/a", "run/b"]
    job_functions.gate.set()
    assert ended(table, "run/b")["state"] == "succeeded"


def test_an_error_of_a_component_arrives_as_its_nearest_known_class(table: JobTable) -> None:
    table.submit(job("run/a", "refuse"))
    error = error_from_dict(ended(table, "run/a")["error"])
    assert type(error).__name__ == "GateFailed"
    assert (error.problem, error.next_step) == ("exact_match 0.41 is below 0.6", "Train longer.")


@pytest.mark.parametrize(
    ("function", "cause"), [("crash", "KeyError: 'absent'"), ("leave", "SystemExit: 3"), ("answer_nan", "ValueError")]
)
def test_an_unforeseen_error_is_one_line_with_a_log_to_read(
    table: JobTable, tmp_path: Path, function: str, cause: str
) -> None:
    table.submit(job("run/a", function))
    error = error_from_dict(ended(table, "run/a")["error"])
    log = tmp_path / "jobs" / "run_a.log"
    assert cause in error.problem
    assert "\n" not in error.problem
    assert str(log) in error.next_step
    assert "Traceback" in log.read_text()
    table.submit(job("run/b", "count", to=1))
    assert ended(table, "run/b")["state"] == "succeeded"


@pytest.mark.parametrize("entrypoint", ["no.such:thing", f"{FUNCTIONS}:absent", "nonsense", ":x"])
def test_an_unknown_entrypoint_is_invalid_input(table: JobTable, entrypoint: str) -> None:
    table.submit(JobSpec(key="run/a", entrypoint=entrypoint, payload={}))
    error = error_from_dict(ended(table, "run/a")["error"])
    assert error.exit_code == 2
    assert entrypoint in error.problem


def test_finished_jobs_are_kept_but_not_for_ever(table: JobTable) -> None:
    for number in range(70):
        table.submit(job(f"run/{number}", "count", to=0))
    ended(table, "run/69")
    table.submit(job("run/last", "count", to=0))
    ended(table, "run/last")
    assert table.poll("run/0", 0) is None
    assert table.poll("run/69", 0) is not None


def test_a_module_that_is_not_installed_is_told_and_stops_nothing(table: JobTable) -> None:
    table.submit(job("run/a", "count", to=0))
    ended(table, "run/a")
    assert table.status()["warm"]
    assert "no_such_module" in table.status()["missing"]
