import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.unit.store.examples import table
from tidegate.cli.output import Format, confirm, render, to_plain
from tidegate.errors import InvalidInput


@dataclass
class Row:
    name: str
    weight: float | None
    at: datetime
    path: Path


ROWS = [
    Row("a", 12.5, datetime(2026, 1, 1, tzinfo=UTC), Path("/x")),
    Row("[bold]b", None, datetime(2026, 1, 2, tzinfo=UTC), Path("/y")),
]
PLAIN = [
    {"name": "a", "weight": 12.5, "at": "2026-01-01T00:00:00+00:00", "path": "/x"},
    {"name": "[bold]b", "weight": None, "at": "2026-01-02T00:00:00+00:00", "path": "/y"},
]


def test_json_and_yaml_hold_everything(capsys: pytest.CaptureFixture[str]) -> None:
    render(ROWS, Format.json, ["name"])
    assert json.loads(capsys.readouterr().out) == PLAIN
    render(ROWS, "yaml", ["name"])
    assert yaml.safe_load(capsys.readouterr().out) == PLAIN


def test_a_table_shows_the_wanted_columns_and_reads_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    render(ROWS, Format.table, {"name": "version", "weight": "weight"})
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["version", "weight"]
    assert [line.split() for line in lines] == [["a", "12.5"], ["[bold]b", "-"]]


def test_without_a_terminal_there_are_no_escape_codes_and_no_folded_cells(capsys: pytest.CaptureFixture[str]) -> None:
    render([{"reason": "x" * 200}])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "x" * 200 in out


def test_one_object_is_a_card_and_a_model_is_plain_json(capsys: pytest.CaptureFixture[str]) -> None:
    render({"epoch": 3, "arms": ["a"], "ok": True})
    assert [line.strip().split(maxsplit=1) for line in capsys.readouterr().out.splitlines()] == [
        ["epoch", "3"],
        ["arms", '["a"]'],
        ["ok", "yes"],
    ]
    assert to_plain(table(1)) == json.loads(table(1).model_dump_json())


def test_an_empty_table_says_so_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    render([], empty="no rollouts yet")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.strip()) == ("", "no rollouts yet")
    render([], Format.json)
    assert json.loads(capsys.readouterr().out) == []


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(InvalidInput, match="there is no terminal"):
        confirm("Delete it?", yes=False)
    confirm("Delete it?", yes=True)
