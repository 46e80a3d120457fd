"""What a person asks of a rollout: the controller's answer decides the exit, and silence is no promise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.rollout.operator_actions import REFUSED
from tidegate.cli import asking, substrates
from tidegate.cli import rollout as cli
from tidegate.cli.substrates import Deployment
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import Conflict, Unavailable
from tidegate.manifests import parse_manifests
from tidegate.settings import load_settings
from tidegate.store.actions import ActionStore
from tidegate.store.resources import ResourceStore

_MANIFEST = Path("examples/local/modeldeployment.yaml")
NAME = "intent-assistant"


@pytest.fixture
def actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActionStore:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    db = Database.open(load_settings().database_url)
    for resource in parse_manifests(_MANIFEST.read_text(), str(_MANIFEST)):
        ResourceStore(db, SystemClock()).apply(resource, actor="test")
    return ActionStore(db, SystemClock())


@pytest.fixture
def controller(actions: ActionStore) -> Iterator[list[str]]:
    """Answers every request with the first of a list of answers; without one it says nothing."""
    answers: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            for asked in actions.pending(NAME):
                if answers:
                    actions.done(asked.id, answers[0])

    thread = threading.Thread(target=work)
    thread.start()
    yield answers
    stop.set()
    thread.join()


def ask(action: str) -> str:
    result = CliRunner().invoke(cli.app, [action])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_what_was_done_is_printed(controller: list[str]) -> None:
    controller.append("Paused by cli:ada; the weight stays at 10%.")
    assert "the weight stays at 10%" in ask("pause")


def test_a_refused_request_is_a_conflict(controller: list[str]) -> None:
    controller.append(f"pause asked by cli:ada{REFUSED}there is nothing to pause in phase Pending.")
    with pytest.raises(Conflict, match="nothing to pause"):
        ask("pause")


@pytest.mark.parametrize(("action", "left"), [("abort", 1), ("promote", 0)])
def test_without_an_answer_only_an_abort_stays_in_the_queue(
    actions: ActionStore, monkeypatch: pytest.MonkeyPatch, action: str, left: int
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.1)
    with pytest.raises(Unavailable, match="has not answered"):
        ask(action)
    assert len(actions.pending(NAME)) == left


def test_a_watch_goes_on_when_it_cannot_look_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flickering:
        """Every other look fails; the rollout ends with the third that does not."""

        place = ""

        def __init__(self) -> None:
            self.looks = 0

        def get(self, name: str) -> Deployment:
            self.looks += 1
            if self.looks % 2 == 0:
                raise Unavailable("the API server does not answer")
            phase = "Succeeded" if self.looks > 4 else "Shadow"
            return Deployment(name, {"phase": phase, "message": f"look {self.looks}"})

    monkeypatch.setattr(substrates, "rollouts", lambda *_: Flickering())
    monkeypatch.setattr(cli, "_POLL_SECONDS", 0.01)
    result = CliRunner().invoke(cli.app, ["watch", NAME], catch_exceptions=False)
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["Shadow:", "Succeeded:"]
    assert "the API server does not answer; still watching" in result.stderr
    monkeypatch.setattr(cli, "_PATIENCE_SECONDS", -1.0)
    with pytest.raises(Unavailable):
        CliRunner().invoke(cli.app, ["watch", NAME], catch_exceptions=False)
