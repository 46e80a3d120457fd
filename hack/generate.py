"""Generates what is derived from the code: CLI reference, settings table, resources, definitions, the chart's table and
schema of values, compiled pipelines.

python hack/generate.py            writes them
python hack/generate.py --check    fails, naming the files, when one is not what the code says
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chart_values import chart_files
from crds import definitions
from pipelines_page import pipelines_page
from resources_page import resources_reference

ROOT = Path(__file__).resolve().parent.parent
_HELP_COLUMNS = "100"


def main() -> int:
    check = "--check" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        packages = compiled_pipelines(Path(folder))
        wanted = {
            ROOT / "docs" / "cli.md": cli_reference(),
            ROOT / "docs" / "settings.md": settings_reference(),
            ROOT / "docs" / "resources.md": resources_reference(),
            ROOT / "docs" / "pipelines.md": pipelines_page(ROOT / "docs" / "pipelines.md", Path(folder)),
            **definitions(ROOT / "helm" / "tidegate" / "files" / "crds"),
            **chart_files(ROOT / "helm" / "tidegate"),
            **packages,
        }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says; run: make docs", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def cli_reference() -> str:
    """Every command's help, as the command prints it."""
    os.environ.update(COLUMNS=_HELP_COLUMNS, TERMINAL_WIDTH=_HELP_COLUMNS, NO_COLOR="1", TERM="dumb")
    from tidegate.cli.exit_codes import EPILOG
    from tidegate.cli.main import COMMANDS, load_command

    lines = ["# CLI reference", "", "Generated from the commands' own help by `make docs`.", "", EPILOG.strip(), ""]
    lines += [
        "Before every command: `--home DIR` (instead of `TIDEGATE_HOME`), `--debug` (tracebacks), `--version`.",
        "",
    ]
    for name, (_, summary) in COMMANDS.items():
        lines += [f"## tidegate {name}", "", summary, ""]
        for path, command in _commands(["tidegate", name], load_command(name)):
            lines += [f"### `{' '.join(path)}`", "", *_described(command), ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(path: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    for name, child in children.items():
        yield from _commands([*path, name], child)


def _described(command: Any) -> list[str]:
    """Help text, then a table of arguments and options."""
    lines = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    text = "\n\n".join(line for line in lines if line).splitlines()
    rows = [_parameter(item) for item in command.params if item.name != "help"]
    if rows:
        text += ["", "| argument or option | default | what |", "|---|---|---|", *rows]
    return text


def _parameter(item: Any) -> str:
    if item.param_type_name == "argument":
        name = f"`{item.metavar or item.name.upper()}`"
    else:
        value = "" if item.is_flag else f" {(item.metavar or item.display_type(None)).replace('|', '/')}"
        name = ", ".join(f"`{option}{value}`" for option in [*item.opts, *item.secondary_opts])
    default = item.default() if callable(item.default) else item.default
    shown = (
        ""
        if default is None or default is False or default == "" or item.required
        else f"`{getattr(default, 'value', default)}`"
    )
    needed = " Required." if item.required else ""
    needed += " May be repeated." if getattr(item, "multiple", False) else ""
    return f"| {name} | {shown} | {_cell((item.help or '') + needed)} |"


def settings_reference() -> str:
    """Every setting with its variable, default and description."""
    from pydantic import BaseModel

    from tidegate.settings import Settings, variable

    lines = [
        "# Settings",
        "",
        "Generated from `tidegate/settings.py` by `make docs`. Sources, highest first: the environment variable,",
        "`<home>/platform.json` (written by `tidegate up` with the ports it found; what you add there is kept), the",
        "default. A part reads its settings when it starts, and jobs run in Ray's workers: after a change run",
        "`tidegate down`, then `tidegate up`. On one machine `tidegate up` finds free ports (16000 to 20999) and",
        "remembers them; a port that `TIDEGATE_GATEWAY_PORT` or `TIDEGATE_RECEIVER_PORT` names is taken, or refused",
        "when it is not free. The profile `cluster` has no default for an address and names what is missing",
        "([operator](operator.md), [pipelines](pipelines.md)).",
        "",
        "Read beside the table: `TIDEGATE_BANKING77` (folder of that data set), `TIDEGATE_DEBUG` (tracebacks),",
        "`TIDEGATE_COMMIT` (the lineage's commit where there is no Git), `TIDEGATE_BASE_MODELS` (where an exported",
        "model looks for its base); `TIDEGATE_LOOP`, `TIDEGATE_NODE` and `TIDEGATE_TEST_JOBS` (`make test`).",
        "",
        "| variable | default | what |",
        "|---|---|---|",
    ]

    def rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from rows(kind, f"{prefix}{name}.")
                continue
            default = (
                "" if field.default_factory or str(field.default) in {"", ".", "PydanticUndefined"} else field.default
            )
            shown = f"`{default}`" if default not in {"", None} else ""
            yield f"| `{variable(prefix + name)}` | {shown} | {_cell(field.description or '')} |"

    return "\n".join([*lines, *rows(Settings, "")]) + "\n"


def compiled_pipelines(folder: Path) -> dict[Path, str]:
    """The packages that the KFP compiler makes now."""
    from pipelines.compile import COMPILED, compile_all

    return {COMPILED / path.name: path.read_text(encoding="utf-8") for path in compile_all(folder)}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
