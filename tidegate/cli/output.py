"""Output of the CLI: a table for people, JSON or YAML for programs. NO_COLOR and pipes are honoured by rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidegate.errors import InvalidInput

_PIPE_WIDTH = 240  # columns when nobody looks: a program that reads the table must not meet folded cells


class Format(StrEnum):
    table = "table"
    json = "json"
    yaml = "yaml"


OutputOption = Annotated[Format, typer.Option("-o", "--output", help="Output format.")]
"""The option `-o` of every command that shows data: `output: OutputOption = Format.table`."""


def console(*, stderr: bool = False) -> Console:
    """A console on stdout (data) or stderr (messages)."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def render(
    data: Any,
    fmt: Format | str = Format.table,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    *,
    title: str | None = None,
    empty: str = "nothing to show",
) -> None:
    """Writes rows or one object to stdout.

    Args:
        data: a sequence of rows or one object; each a mapping, a dataclass or a pydantic model.
        fmt: table, json or yaml.
        columns: keys that the table shows, in order, optionally with their headers; None shows all. JSON and YAML
            always hold everything.
        title: above the table.
        empty: what the table says without rows.
    """
    plain = to_plain(data)
    if fmt == Format.json:
        typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))
    elif fmt == Format.yaml:
        import yaml  # noqa: PLC0415

        typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())
    elif isinstance(plain, list):
        _table(plain, columns, title, empty)
    else:
        _card(plain, columns, title)


def to_plain(value: Any) -> Any:
    """JSON types of a value: models, dataclasses, paths and times included."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, (StrEnum, Path)) else value


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something that cannot be taken back. Without a terminal nobody is asked: `--yes` must be given.

    Raises:
        InvalidInput: nobody can be asked.
        typer.Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"'{question}' needs an answer, and there is no terminal", next_step="Add --yes.")
    typer.confirm(question, abort=True)


def _table(rows: list[Any], columns: Sequence[str] | Mapping[str, str] | None, title: str | None, empty: str) -> None:
    if not rows:
        console(stderr=True).print(Text(empty))
        return
    headers = _headers(columns, rows[0] if isinstance(rows[0], dict) else {"value": None})
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for header in headers.values():
        table.add_column(header, overflow="fold")
    for row in rows:
        cells = row if isinstance(row, dict) else {"value": row}
        table.add_row(*(_cell(cells.get(key)) for key in headers))
    console().print(table)


def _card(item: Any, columns: Sequence[str] | Mapping[str, str] | None, title: str | None) -> None:
    if not isinstance(item, dict):
        console().print(_cell(item))
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, header in _headers(columns, item).items():
        table.add_row(header, _cell(item.get(key)))
    console().print(table)


def _headers(columns: Sequence[str] | Mapping[str, str] | None, first: Mapping[str, Any]) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return dict(columns)
    return {key: key.replace("_", " ") for key in (columns if columns is not None else first)}


def _cell(value: Any) -> Text:
    """A cell as plain text: data is never read as rich markup."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    if isinstance(value, (dict, list)):
        return Text(json.dumps(value, ensure_ascii=False))
    return Text(str(value))
