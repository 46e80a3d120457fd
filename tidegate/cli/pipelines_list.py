"""`tidegate pipelines list`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.kfp_options import (
    FROM_SETTINGS,
    Connection,
    connecting,
)
from tidegate.cli.output import Format, OutputOption, render
from tidegate.errors import InvalidInput

if TYPE_CHECKING:
    from tidegate.adapters.kfp_client import KfpApi, Run, Schedule

_KINDS = ("pipelines", "versions", "runs", "schedules")


@connecting
def list_all(
    what: Annotated[str, typer.Argument(help="pipelines, versions, runs or schedules.")] = "runs",
    pipeline: Annotated[str, typer.Option(help="Of this pipeline.")] = "",
    limit: Annotated[int, typer.Option(help="The newest so many runs.", min=1, max=100)] = 20,
    connection: Connection = FROM_SETTINGS,
    output: OutputOption = Format.table,
) -> None:
    """List what Kubeflow Pipelines has: pipelines, versions, runs or schedules."""
    if what not in _KINDS:
        raise InvalidInput(f"there is nothing called {what!r} to list", next_step=f"List one of {', '.join(_KINDS)}.")
    api = connection.open()
    render(rows(api, what, pipeline, limit), output, empty=f"no {what} yet")


def rows(api: KfpApi, what: str, pipeline: str, limit: int) -> list[dict[str, Any]]:
    """What the table shows, a row a thing.

    Raises:
        NotFound: there is no such pipeline.
    """
    known = [api.must_have(pipeline)] if pipeline else api.pipelines()
    names = {item.id: item.name for item in known}
    if what == "pipelines":
        return [{"pipeline": item.name, "created": _time(item.created), "id": item.id} for item in known]
    if what == "versions":
        return [
            {"pipeline": owner.name, "version": item.name, "created": _time(item.created), "id": item.id}
            for owner in known
            for item in api.versions(owner.id)
        ]
    if what == "runs":
        return [
            {
                "run": item.name,
                **_made_of(api, item, names),
                "state": item.state,
                "started": _time(item.created),
                "id": item.id,
            }
            for item in api.runs(limit, pipeline=known[0].id if pipeline else "")
        ]
    return [
        {
            "schedule": item.name,
            **_made_of(api, item, names),
            "cron": item.cron,
            "enabled": item.enabled,
            "parameters": dict(item.parameters),
            "id": item.id,
        }
        for item in api.schedules()
        if not pipeline or item.pipeline in names
    ]


def _made_of(api: KfpApi, item: Run | Schedule, names: dict[str, str]) -> dict[str, str]:
    """Names of pipeline and version; of what is gone, or was submitted without an upload, there are none."""
    version = api.version(item.pipeline, item.version) if item.version else None
    return {"pipeline": names.get(item.pipeline, ""), "version": version.name if version is not None else ""}


def _time(value: datetime | None) -> str:
    return value.astimezone(UTC).isoformat(timespec="seconds") if value is not None else ""
