"""What a person asks of a rollout: the controller's answer decides the exit, and silence is no promise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.rollout.operator_actions import REFUSED
from tidegate.cli import asking
from tidegate.cli import rollout as cli
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
