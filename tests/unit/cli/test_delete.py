"""`tidegate delete`: a deployment becomes a tombstone; a runtime in use is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidegate.cli.main import app, load_command
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import Conflict, NotFound
from tidegate.manifests import parse_manifests
from tidegate.settings import load_settings
from tidegate.store.resources import ResourceStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResourceStore:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    made = ResourceStore(Database.open(load_settings().database_url), SystemClock())
    for path in sorted(Path("examples/local").glob("*.yaml")):
        for resource in parse_manifests(path.read_text(), str(path)):
            made.apply(resource, actor="test")
    return made


def delete(*args: str) -> None:
    load_command("delete").main(args=list(args), standalone_mode=False)


def test_a_deployment_is_marked_and_its_runtime_can_go_then(store: ResourceStore) -> None:
    with pytest.raises(Conflict, match="serves intent-assistant"):
        delete("local-cpu", "--kind", "ModelRuntime")
    delete("intent-assistant")
    assert store.list("ModelDeployment", deleted=False) == []
    delete("local-cpu", "--kind", "modelruntime")
    assert store.list("ModelRuntime", deleted=False) == []


def test_what_is_not_there_is_named(store: ResourceStore) -> None:
    with pytest.raises(NotFound, match="ModelDeployment/nothing does not exist"):
        delete("nothing")


def test_the_command_is_listed() -> None:
    assert "delete" in CliRunner().invoke(app, ["--help"]).stdout
