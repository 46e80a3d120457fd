"""`tidegate apply`: desired state from manifests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import substrates
from tidegate.cli.options import ContextOption, NamespaceOption
from tidegate.cli.output import Format, OutputOption, render
from tidegate.errors import InvalidInput, NotFound


def command(
    file: Annotated[list[str], typer.Option("-f", "--file", help="A manifest, a folder of them, or - for stdin.")],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check the manifests and change nothing. On a cluster its API server checks, too."
        ),
    ] = False,
    output: OutputOption = Format.table,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Apply ModelRuntimes and ModelDeployments: the same manifests on one machine and on a cluster.

    All files are read and checked before anything is changed: one wrong manifest and nothing is applied. The
    controller acts on the change; watch it with 'tidegate rollout watch'. On a cluster this is a server-side apply by
    the field manager 'tidegate'. Where a plan takes a second person, who applies a change is on record with it.
    """
    from tidegate.manifests import parse_manifests  # noqa: PLC0415 - pydantic models and YAML

    texts = [text for name in file for text in _read(name)]
    resources = [resource for source, text in texts for resource in parse_manifests(text, source)]
    if not resources:
        raise InvalidInput(f"no manifest in {', '.join(file)}", next_step="Name a file that holds one.")
    # Runtimes first: a deployment that names one must find it.
    resources.sort(key=lambda resource: resource.kind != "ModelRuntime")
    render(substrates.resources(namespace, context).apply(resources, dry_run=dry_run), output)


def _read(name: str) -> list[tuple[str, str]]:
    """(source, text) of a file, of every YAML file of a folder, or of standard input."""
    if name == "-":
        return [("standard input", sys.stdin.read())]
    path = Path(name)
    if path.is_dir():
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if not files:
            raise NotFound(f"folder {name} has no *.yaml file", next_step="Name a folder with manifests, or a file.")
    else:
        files = [path]
    try:
        return [(str(item), item.read_text(encoding="utf-8")) for item in files]
    except FileNotFoundError as error:
        raise NotFound(f"file {error.filename} does not exist", next_step="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} cannot be read: {error}", next_step="Name a readable UTF-8 YAML file.") from None
