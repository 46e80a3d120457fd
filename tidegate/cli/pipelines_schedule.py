"""`tidegate pipelines schedule`."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli.kfp_options import (
    FROM_SETTINGS,
    Connection,
    ParameterOption,
    ParametersOption,
    connecting,
    read_parameters,
)
from tidegate.errors import InvalidInput


@connecting
def schedule(  # noqa: PLR0913, PLR0917 - the options of one command
    name: Annotated[str, typer.Argument(help="Name of the schedule; one name is one schedule.")],
    pipeline: Annotated[str, typer.Option(help="Pipeline that is run: retrain, drift-check, fine-tune.")] = "",
    cron: Annotated[
        str, typer.Option(help="When: minute hour day month weekday, e.g. '30 2 * * *'.", metavar="CRON")
    ] = "",
    timezone: Annotated[
        str,
        typer.Option(
            help="Time zone of the cron line; refused unless TIDEGATE_KFP__TIMEZONE says that it is the installation's."
        ),
    ] = "",
    parameter: ParameterOption = None,
    params: ParametersOption = None,
    version: Annotated[
        str, typer.Option(help="Version of the pipeline. Default: TIDEGATE_KFP__VERSION, else the newest.")
    ] = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Make it, but switched off.")] = False,
    enable: Annotated[bool, typer.Option("--enable", help="Switch an existing one on.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Switch an existing one off.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it, with workflows and pods of its runs; KFP's records stay.")
    ] = False,
    connection: Connection = FROM_SETTINGS,
) -> None:
    """Run a pipeline by the clock: nightly retraining, drift checks. The same schedule is kept, a changed one replaced.

    A schedule never catches up on times that it missed and starts no run while its last one goes on.
    """
    from pipelines import schedules  # noqa: PLC0415 - KFP is not for --help
    from pipelines.publish import find_version  # noqa: PLC0415

    changes = [
        option for option, given in (("--enable", enable), ("--disable", disable), ("--delete", delete)) if given
    ]
    made_with = {
        "--pipeline": pipeline,
        "--cron": cron,
        "--timezone": timezone,
        "--parameter": parameter,
        "--params": params,
        "--version": version,
        "--disabled": disabled,
    }
    beside = [*changes[1:], *(option for option, given in made_with.items() if given)]
    if changes and beside:
        raise InvalidInput(
            f"{changes[0]} changes nothing else, and {', '.join(beside)} would be ignored",
            next_step="Say one thing at a time; to change a schedule, give --pipeline, --cron and its parameters anew.",
        )
    if not changes and not (cron and pipeline):
        raise InvalidInput(
            f"schedule {name!r} needs --pipeline and --cron",
            next_step="Write for example --pipeline retrain --cron '30 2 * * *' -p deployment=support.",
        )
    arguments = read_parameters(parameter, params)
    api = connection.open()
    done: str
    if changes:
        done = schedules.delete(api, name) if delete else schedules.switch(api, name, enabled=enable)
    else:
        schedules.check_zone(timezone, api.settings.timezone)
        found = find_version(api, pipeline, version)
        done = schedules.ensure(api, name, cron, pipeline, found, arguments, enabled=not disabled)
    typer.echo(f"schedule {name} {done}")
