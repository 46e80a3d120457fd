"""The command `tidegate`: a group whose sub-commands are loaded when they are called.

One file a noun or verb. `COMMANDS` names each command with its help line; the module `tidegate.cli.<name>` (dashes
become underscores) is imported only when the command is invoked, completed into or asked for its own help. A module
exposes exactly one of

- `app: typer.Typer` for a noun with verbs below it (`tidegate ledger list`), or
- `command`, a function that Typer turns into a command (`tidegate up`); its docstring is the long help.

A module of a command may import what it needs at its top, but nothing that takes a second: those imports belong in
functions. Errors are raised, not printed: `tidegate.cli.errors` turns them into one message and an exit code.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tidegate.cli.exit_codes import EPILOG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_TERMINATED = 128 + signal.SIGTERM
PLATFORM, MODELS, OPERATIONS = "Platform", "Models and rollouts", "Monitoring and records"
COMMANDS: dict[str, tuple[str, str]] = {
    "up": (PLATFORM, "Start the platform on this machine; what runs already is left alone."),
    "down": (PLATFORM, "Stop the platform; its state stays."),
    "status": (PLATFORM, "Show the platform's parts, deployments and rollouts."),
    "demo": (PLATFORM, "Run the whole loop: data, training, serving, drift, canary, rollback."),
    "doctor": (PLATFORM, "Check this installation and say how to mend what is wrong."),
    "apply": (MODELS, "Apply manifests of ModelRuntimes and ModelDeployments."),
    "delete": (MODELS, "Take a deployment or a runtime out of service."),
    "run": (MODELS, "Run a pipeline and follow it, or look at earlier runs."),
    "pipelines": (MODELS, "Compile, upload, run and schedule pipelines on Kubeflow Pipelines."),
    "models": (MODELS, "Look at registered versions and their cards; set aliases."),
    "rollout": (MODELS, "Watch rollouts and decide: approve, promote, abort, pause, resume."),
    "drift": (OPERATIONS, "Check for drift and read drift reports."),
    "alerts": (OPERATIONS, "Look at received alerts and retraining requests."),
    "ledger": (OPERATIONS, "Read the record of facts: list, show, verify, what served when and why."),
}


class LazyGroup(TyperGroup):
    """Lists `COMMANDS` from their help lines; imports the module of a command that is used.

    The group's own help is plain text: rich's formatter alone would take two thirds of the time that it may take.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command for listing: its name and help line, without its module."""
        del ctx
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command that `args` calls."""
        if args and args[0] in COMMANDS:
            return args[0], load_command(args[0]), args[1:]
        self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}  # for "Did you mean …?"
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by panel."""
        del ctx
        for panel in dict.fromkeys(panel for panel, _ in COMMANDS.values()):
            with formatter.section(panel):
                formatter.write_dl([(name, line) for name, (of, line) in COMMANDS.items() if of == panel])


app = typer.Typer(
    cls=LazyGroup,
    name="tidegate",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
    help="Take a language model from data into production and keep it good there.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - only here

        typer.echo(f"tidegate {version('tidegate')}")
        raise typer.Exit


@app.callback()
def options(
    home: Annotated[
        Path | None, typer.Option(help="State folder instead of TIDEGATE_HOME.", file_okay=False, metavar="DIR")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has done the work
    # Both are handed on by the environment: to settings here, and to the processes that a command starts.
    if home is not None:
        os.environ["TIDEGATE_HOME"] = str(home.expanduser().absolute())
    if debug:
        os.environ["TIDEGATE_DEBUG"] = "1"


def load_command(name: str) -> Any:
    """The command of a module `tidegate.cli.<name>`, as Click knows it.

    Raises:
        TypeError: the module does not follow the convention above.
    """
    module = importlib.import_module(f"tidegate.cli.{name.replace('-', '_')}")
    group, function = getattr(module, "app", None), getattr(module, "command", None)
    if isinstance(group, typer.Typer) and function is None:
        built: Any = typer.main.get_group(group)
    elif callable(function) and group is None:
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name, context_settings={"help_option_names": ["-h", "--help"]})(function)
        built = typer.main.get_command(single)
    else:
        raise TypeError(f"{module.__name__} must expose either 'app' (typer.Typer) or 'command' (a function)")
    built.name = name
    return built


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)


def main(args: Sequence[str] | None = None) -> None:
    """The entry point of the console script: runs a command and exits with its code."""
    # As an exception, so that what a command started is ended and its record says how it ended.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        typer.main.get_command(app).main(args=args, prog_name="tidegate")
    except (Exception, KeyboardInterrupt) as error:
        from tidegate.cli.errors import report  # noqa: PLC0415 - only when there is something to report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
