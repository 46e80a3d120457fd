"""`tidegate delete`: what is no longer wanted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tidegate.cli.context import open_database
from tidegate.cli.output import console
from tidegate.clock import SystemClock
from tidegate.errors import Conflict


class Kind(StrEnum):
    """What can be deleted, as its manifest calls it."""

    deployment = "ModelDeployment"
    runtime = "ModelRuntime"


def command(
    name: Annotated[str, typer.Argument(help="Its metadata.name.")],
    kind: Annotated[Kind, typer.Option(help="What it is.", case_sensitive=False)] = Kind.deployment,
) -> None:
    """Take a ModelDeployment out of service, or a ModelRuntime that none uses.

    The controller removes its routing and unloads its adapters; requests for it are answered 404 then. Versions and the
    record of what served stay.
    """
    from tidegate.domain.resources import ModelDeployment  # noqa: PLC0415 - pydantic models
    from tidegate.store.resources import ResourceStore  # noqa: PLC0415 - SQLAlchemy

    store = ResourceStore(open_database(), SystemClock())
    if kind is Kind.runtime:
        using = [
            stored.name
            for stored in store.list("ModelDeployment", deleted=False)
            if isinstance(stored.resource, ModelDeployment) and stored.resource.spec.runtime_ref.name == name
        ]
        if using:
            raise Conflict(
                f"ModelRuntime {name!r} serves {', '.join(using)}", next_step="Delete those deployments first."
            )
    store.delete(kind.value, name, actor="cli")
    console().print(f"{kind.value} {name} is being taken out of service", markup=False)
