"""`tidegate delete`: what is no longer wanted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tidegate.cli import substrates
from tidegate.cli.options import ContextOption, NamespaceOption
from tidegate.cli.output import console
from tidegate.errors import InvalidInput


class Kind(StrEnum):
    """What can be deleted, as its manifest calls it."""

    deployment = "ModelDeployment"
    runtime = "ModelRuntime"


def command(
    name: Annotated[str, typer.Argument(help="Its metadata.name.")],
    kind: Annotated[Kind, typer.Option(help="What it is.", case_sensitive=False)] = Kind.deployment,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Take a ModelDeployment out of service, or a ModelRuntime that none uses.

    The controller removes its routing and unloads its adapters; requests for it are answered 404 then. Versions and the
    record of what served stay.
    """
    if not name.strip():
        raise InvalidInput(f"no name is given of the {kind.value}", next_step="Name it; is a variable unset?")
    substrates.resources(namespace, context).delete(kind.value, name)
    console().print(f"{kind.value} {name} is being taken out of service", markup=False)
