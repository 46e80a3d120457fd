"""`tidegate pipelines`: Kubeflow Pipelines on a cluster. `tidegate run` is the same on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.kfp_options import (
    FROM_SETTINGS,
    Connection,
    ParameterOption,
    ParametersOption,
    SiteOption,
    connecting,
    read_parameters,
    run_pods,
)
from tidegate.cli.options import ContextOption
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.cli.pipelines_list import list_all
from tidegate.cli.pipelines_runs import PodsNamespaceOption, follow_to_end, stop, watch
from tidegate.cli.pipelines_schedule import schedule
from tidegate.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Compile, upload, run and schedule pipelines on Kubeflow Pipelines.")
app.command()(schedule)
app.command()(watch)
app.command()(stop)

_VERSION_HELP = "Version of the pipeline. Default: TIDEGATE_KFP__VERSION, else the newest."
_NAMES = "fine-tune, retrain, drift-check"


@app.command("compile")
def compile_packages(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the packages.", file_okay=False)] = Path(
        "packages"
    ),
    site: SiteOption = None,
) -> None:
    """Compile the pipelines for a cluster: images, node pools, secrets, volumes, resources, retries, timeouts.

    The same site file and release give the same bytes.
    """
    for path in _compiled(site, out):
        typer.echo(str(path))


@app.command()
@connecting
def upload(
    packages: Annotated[
        list[Path] | None, typer.Argument(help="Compiled packages; or give --site, to compile for it now.")
    ] = None,
    site: Annotated[
        Path | None, typer.Option("--site", help="Site file of the cluster (docs/pipelines.md), without packages.")
    ] = None,
    version: Annotated[
        str, typer.Option(help="Name of the version. Default: release and commit.", show_default=False)
    ] = "",
    connection: Connection = FROM_SETTINGS,
    output: OutputOption = Format.table,
) -> None:
    """Upload packages as versions named after release and commit; what is there with the same content is left alone.

    Every package is checked against the format first: the server never answers to a malformed one.
    """
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from pipelines.publish import not_run  # noqa: PLC0415 - KFP is not for --help
    from pipelines.publish import upload as publish  # noqa: PLC0415
    from tidegate.adapters.kfp_packages import read_package  # noqa: PLC0415

    if packages and site is not None:
        raise InvalidInput(
            "--site is for compiling, and packages are compiled already", next_step="Give packages or --site."
        )
    if not packages and site is None:  # it would be the newest version, which runs and the receiver take
        raise InvalidInput(
            "nothing says which images, pools and Secrets the pipelines' pods get",
            next_step="Give --site FILE (docs/pipelines.md has one to begin with), or packages that were compiled.",
        )
    with TemporaryDirectory() as folder:
        found = [read_package(path) for path in packages or _compiled(site, Path(folder))]
        api = connection.open()
        done = [publish(api, package, version) for package in found]
    render(done, output, {"pipeline": "pipeline", "version": "version", "result": "result"})
    for note in filter(None, map(not_run, done)):
        console(stderr=True).print(note, markup=False)


@app.command()
@connecting
def run(  # noqa: PLR0913, PLR0917 - the options of one command
    pipeline: Annotated[str, typer.Argument(help=f"Pipeline: {_NAMES}.")],
    parameter: ParameterOption = None,
    params: ParametersOption = None,
    name: Annotated[str, typer.Option(help="Name of the run; one name is one run. Default: made up.")] = "",
    version: Annotated[str, typer.Option(help=_VERSION_HELP)] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end; exit with its error.")] = False,
    connection: Connection = FROM_SETTINGS,
    namespace: PodsNamespaceOption = "",
    context: ContextOption = "",
) -> None:
    """Start a run of an uploaded pipeline. Parameters are checked before anything is sent.

    With --wait, every step is followed and a failing one ends the command with the step's own error and exit code.
    -n or --context name the cluster of the pods: then images that cannot be pulled and pods without a node are told,
    too, while they wait.
    """
    from pipelines.publish import find_version, start  # noqa: PLC0415
    from tidegate.ids import new_id  # noqa: PLC0415

    arguments = read_parameters(parameter, params)
    if (namespace or context) and not wait:
        raise InvalidInput("-n and --context are for following the run's pods", next_step="Give --wait, too.")
    api, pods = connection.open(), run_pods(namespace, context)  # what cannot be followed is not started
    found = find_version(api, pipeline, version)
    made = start(api, name or f"{pipeline}-{new_id().lower()}", pipeline, found, arguments)
    out = console(stderr=True)
    out.print(f"run {made.name} of {pipeline} {found.name}: {api.run_url(made.id)}", markup=False)
    typer.echo(made.id)
    if wait:
        follow_to_end(api, made, pods)


def _compiled(site: Path | None, folder: Path) -> list[Path]:
    from pipelines.packages import compile_site  # noqa: PLC0415 - KFP takes seconds
    from pipelines.site import read_site  # noqa: PLC0415

    return compile_site(read_site(site), folder, site.parent if site is not None else None)


app.command("list")(list_all)
