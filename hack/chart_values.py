"""What is derived from the chart's values.yaml: its table in README.md, and values.schema.json.

A value is a key with a comment that begins with `# -- `; a key without one is a group of values. So a value that nobody
described is an error here, and a value that is not in values.yaml is an error for whoever installs the chart.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from chart_shapes import shape

_MARK = "# -- "
_KEY = re.compile(r"^( *)([A-Za-z0-9_-]+):(.*)$")
_BEGIN, _END = "<!-- values: generated from values.yaml by `make docs` -->", "<!-- end of values -->"


@dataclass(frozen=True)
class Value:
    """One documented value."""

    path: tuple[str, ...]
    default: Any
    text: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


def chart_files(chart: Path) -> dict[Path, str]:
    """The generated files of the chart, and their text."""
    values = documented((chart / "values.yaml").read_text(encoding="utf-8"))
    readme = chart / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    tail = rest.partition(_END)[2]
    return {
        readme: f"{head}{_BEGIN}\n\n{table(values)}\n{_END}{tail}",
        chart / "values.schema.json": json.dumps(schema(values), indent=2) + "\n",
    }


def documented(text: str) -> list[Value]:
    """The values of a values.yaml, in its order.

    Raises:
        ValueError: a value has no comment.
    """
    content = yaml.safe_load(text)
    found: list[Value] = []
    comment: list[str] = []
    parents: list[tuple[int, str]] = []
    inside: int | None = None  # a documented value's own lines are not values
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment = [stripped.removeprefix(_MARK)] if stripped.startswith(_MARK) else _more(comment, stripped)
            continue
        match = _KEY.match(line)
        indent = len(line) - len(line.lstrip())
        if inside is not None and stripped and (indent > inside or (indent == inside and stripped.startswith("-"))):
            continue
        if match is None:
            comment = []
            continue
        inside = None
        parents = [(depth, key) for depth, key in parents if depth < indent]
        parents.append((indent, match.group(2)))
        path = tuple(key for _, key in parents)
        if comment:
            found.append(Value(path, _at(content, path), " ".join(comment)))
            inside, comment = indent, []
        elif match.group(3).strip():
            raise ValueError(f"values.yaml: {'.'.join(path)} has no comment; write one that begins with '{_MARK}'")
    return found


def table(values: list[Value]) -> str:
    """Markdown."""
    rows = ["| value | default | what |", "|---|---|---|"]
    for value in values:
        default = json.dumps(value.default)
        rows.append(f"| `{value.name}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def schema(values: list[Value]) -> dict[str, Any]:
    """A closed JSON Schema: only what is named here may be set."""
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft-07/schema#",
        "title": "Values of the chart tidegate",
        **_group(),
    }
    # Helm gives it to every chart that is a dependency of another.
    root["properties"]["global"] = {"type": "object", "description": "Helm's own; nothing here reads it."}
    for value in values:
        place = root
        for key in value.path[:-1]:
            place = place["properties"].setdefault(key, _group())
        place["properties"][value.path[-1]] = {"description": value.text, **shape(value.path, value.default)}
    return root


def _group() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _more(comment: list[str], line: str) -> list[str]:
    return [*comment, line.lstrip("# ")] if comment else []


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = content[key]
    return content
