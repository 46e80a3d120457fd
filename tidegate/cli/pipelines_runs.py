"""`tidegate pipelines watch` and `stop`: a run that is there, by its id or its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.kfp_options import FROM_SETTINGS, Connection, connecting, run_pods
from tidegate.cli.options import ContextOption
from tidegate.cli.output import console
from tidegate.errors import Conflict

if TYPE_CHECKING:
    from tidegate.adapters.kfp_client import KfpApi, Run
    from tidegate.adapters.kfp_follow import Pods, RunEvent

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id or name of the run; of several, the newest.")]
PodsNamespaceOption = Annotated[
    str,
    typer.Option(
        "-n",
        "--namespace",
        help="Namespace of the run's pods. Default with --context: the context's.",
        show_default=False,
    ),
]


@connecting
def watch(
    run: RunArgument,
    connection: Connection = FROM_SETTINGS,
    namespace: PodsNamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Follow a run to its end, as "run --wait" does; a failing one ends the command with the step's own error.

    A run that has ended is told from its beginning as far as its logs are there.
    """
    api, pods = connection.open(), run_pods(namespace, context)
    follow_to_end(api, find_run(api, run), pods)


@connecting
def stop(run: RunArgument, connection: Connection = FROM_SETTINGS) -> None:
    """End a run. What it trains goes on for at most training.reattachSeconds (5 minutes), then ends itself.

    A RayJob that shall not even do that is deleted by hand: docs/pipelines.md, "When a pod is lost".
    """
    api = connection.open()
    found = find_run(api, run)
    if found.ended:
        raise Conflict(f"run {found.name!r} has ended already ({found.state})", next_step="There is nothing to stop.")
    api.terminate(found.id)
    console(stderr=True).print(f"run {found.name} is told to end", markup=False)
    typer.echo(found.id)


def find_run(api: KfpApi, run: str) -> Run:
    """The newest run of this name, else the run of this id.

    Raises:
        NotFound: there is neither.
    """
    named = api.runs_named(run)
    return named[0] if named else api.run(run)


def follow_to_end(api: KfpApi, run: Run, pods: Pods | None) -> None:
    """Tells what a run's steps say until it has succeeded.

    Raises:
        TidegateError: it did not; see `follow`.
    """
    from tidegate.adapters.kfp_follow import follow  # noqa: PLC0415 - the SDK takes a second

    out = console(stderr=True)
    try:
        follow(api, run.id, _telling(out), pods=pods)
    except KeyboardInterrupt:
        again = f"tidegate pipelines watch {run.id}"
        out.print(f"run {run.name} goes on; '{again}' follows it again, 'stop' ends it", markup=False)
        raise
    out.print(f"run {run.name} succeeded", markup=False)


def _telling(out: Any) -> Any:
    def told(event: RunEvent) -> None:
        if event.kind == "started":
            out.print(f"[bold]{event.step}[/bold]")
        elif event.kind in {"line", "trouble"}:
            out.print(f"  {event.text}", markup=False)
        else:
            out.print(f"  {event.step} {event.kind} in {event.seconds:.0f} s", markup=False)

    return told
