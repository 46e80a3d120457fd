"""`tidegate rollout` on a home with a rollout in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.integration.controller.world import NAME, World
from tidegate.cli.rollout import app
from tidegate.errors import NotFound

pytestmark = pytest.mark.integration


@pytest.fixture
def shadowing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    world = World(tmp_path)
    world.set_up()
    world.until("Succeeded")
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    world.tick("+=+=+")
    world.tick()
    return world


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_and_explain_say_how_a_rollout_goes(shadowing: World) -> None:
    listed = json.loads(run("list", "-o", "json"))
    assert [(row["name"], row["stable"], row["candidate"], row["phase"]) for row in listed] == [
        (NAME, "1", "2", "Shadow")
    ]
    said = json.loads(run("explain", "-o", "json"))
    assert "version 2 is in phase Shadow, step shadow with 0% of users" in said["explanation"]
    assert {verdict["metric"] for verdict in said["verdicts"]} == {"exact-match", "error-rate"}


def test_history_says_who_did_what(shadowing: World) -> None:
    shadowing.actions.submit(NAME, "abort", "cli:ada", "a drill")
    shadowing.until("RolledBack")
    rows = json.loads(run("history", NAME, "-o", "json"))
    assert [row["reason"] for row in rows][-2:] == ["Aborted", "Aborted"]
    assert rows[-2]["by"] == "cli:ada"


def test_watch_ends_with_the_rollout(shadowing: World) -> None:
    shadowing.until("RolledBack", outcomes="-----")
    assert "HarmFound" in shadowing.status["reason"] or "RejectedVersion" in shadowing.status["reason"]
    assert "RolledBack" in run("watch")


def test_an_unknown_deployment_is_named_with_those_that_there_are(shadowing: World) -> None:
    with pytest.raises(NotFound, match=f"There are: {NAME}"):
        run("explain", "no-such")
