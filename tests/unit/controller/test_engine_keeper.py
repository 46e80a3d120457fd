"""Engines are asked side by side: one that hangs keeps no other waiting, and is not asked twice at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from serving.controller.engine_keeper import EngineKeeper
from tidegate.errors import Unavailable
from tidegate.ports import AdapterSlot, EngineStatus

_SECONDS = 60.0
_HELD = EngineStatus(ready=True, url="http://e", adapters=(), replicas_ready=1, replicas_wanted=1, message="")


class Hanging:
    """Engines of which `slow` answers nothing until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = threading.Condition()
        self.times = {"slow": 0, "fast": 0}
        self.removed: list[str] = []

    def ensure(self, runtime: str, spec: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> None:
        pass

    def status(self, runtime: str) -> EngineStatus:
        with self.asked:
            self.times[runtime] += 1
            self.asked.notify_all()
        if runtime == "slow" and not self.go_on.wait(_SECONDS):
            raise Unavailable("nobody let it go")
        return _HELD

    def remove(self, runtime: str) -> None:
        with self.asked:
            self.removed.append(runtime)
            self.asked.notify_all()

    def wait_for(self, runtime: str, times: int) -> None:
        with self.asked:
            assert self.asked.wait_for(lambda: self.times[runtime] >= times, _SECONDS)


@pytest.fixture
def running() -> Iterator[tuple[EngineKeeper, Hanging]]:
    engines, stop = Hanging(), threading.Event()
    keeper = EngineKeeper(engines)
    keeper.look("slow")
    keeper.look("fast")
    thread = threading.Thread(target=keeper.run, args=(stop, 0.01), daemon=True)
    thread.start()
    yield keeper, engines
    stop.set()
    engines.go_on.set()
    thread.join(_SECONDS)
    assert not thread.is_alive()


def test_an_engine_that_hangs_keeps_no_other_waiting(running: tuple[EngineKeeper, Hanging]) -> None:
    keeper, engines = running
    engines.wait_for("fast", 5)
    assert keeper.report("fast").status == _HELD
    assert keeper.report("slow").status is None
    assert engines.times["slow"] == 1  # the call that hangs is the only one


def test_an_engine_that_answers_again_is_asked_again(running: tuple[EngineKeeper, Hanging]) -> None:
    keeper, engines = running
    engines.wait_for("slow", 1)
    engines.go_on.set()
    engines.wait_for("slow", 3)
    assert keeper.report("slow").status == _HELD


def test_an_engine_is_removed_when_its_call_has_ended_and_its_answer_counts_no_more(
    running: tuple[EngineKeeper, Hanging],
) -> None:
    keeper, engines = running
    engines.wait_for("slow", 1)
    keeper.drop("slow")
    engines.wait_for("fast", engines.times["fast"] + 3)
    assert engines.removed == []
    engines.go_on.set()
    with engines.asked:
        assert engines.asked.wait_for(lambda: engines.removed, _SECONDS)
    engines.wait_for("fast", engines.times["fast"] + 3)
    assert engines.removed == ["slow"]
    assert keeper.report("slow").status is None


def test_an_error_of_any_size_fits_into_a_status() -> None:
    class Talkative(Hanging):
        def status(self, runtime: str) -> EngineStatus:
            raise Unavailable("x" * 2_000_000)

    keeper = EngineKeeper(Talkative())
    keeper.look("fast")
    keeper.poll()
    assert len(keeper.report("fast").trouble or "") == 2000
