"""Options and access that all commands of `tidegate pipelines` share."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
import yaml

from tidegate.errors import InvalidInput

if TYPE_CHECKING:
    from tidegate.adapters.kfp_client import KfpApi
    from tidegate.adapters.kfp_follow import Pods

SiteOption = Annotated[
    Path | None,
    typer.Option("--site", help="Site file of the cluster (docs/pipelines.md). Default: the chart's own names."),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", help="A parameter of the pipeline.", metavar="NAME=JSON"),
]
ParametersOption = Annotated[
    Path | None, typer.Option("--params", help="YAML or JSON file of parameters; -p wins over it.")
]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where Kubeflow Pipelines is and who asks, as options name it; what they leave out the settings say."""

    url: Annotated[
        str, typer.Option("--url", help="API of Kubeflow Pipelines. Default: TIDEGATE_KFP__URL.", show_default=False)
    ] = ""
    kfp_namespace: Annotated[
        str,
        typer.Option("--kfp-namespace", help="Profile namespace (multi-user). Default: TIDEGATE_KFP__NAMESPACE."),
    ] = ""
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with a bearer token: OIDC, or a projected service-account token."),
    ] = None
    cookie_file: Annotated[
        Path | None,
        typer.Option("--cookie-file", help="File with a session cookie, NAME=VALUE (authservice_session=…)."),
    ] = None
    header_file: Annotated[
        str,
        typer.Option("--header-file", help="Header that a proxy wants: NAME=FILE with its value.", metavar="NAME=FILE"),
    ] = ""
    ca_file: Annotated[Path | None, typer.Option("--ca-file", help="Certificate authority of the API.")] = None

    def open(self) -> KfpApi:
        """The API that options and settings name; an option wins.

        Raises:
            TidegateError: nothing is named, it does not answer, or it does not let us in.
        """
        from tidegate.adapters.kfp_client import KfpApi  # noqa: PLC0415 - the SDK takes a second
        from tidegate.settings import load_kfp  # noqa: PLC0415

        name, equals, file = self.header_file.partition("=")
        if self.header_file and not (equals and name and file):
            raise InvalidInput(
                f"--header-file {self.header_file!r} is not NAME=FILE",
                next_step="Write for example kubeflow-userid=me.txt.",
            )
        given: dict[str, Any] = {
            "url": self.url,
            "namespace": self.kfp_namespace,
            "token_path": self.token_file,
            "cookie_path": self.cookie_file,
            "header_name": name,
            "header_value_path": Path(file) if file else None,
            "ca_path": self.ca_file,
        }
        return KfpApi(load_kfp().model_copy(update={key: value for key, value in given.items() if value}))


FROM_SETTINGS = Connection()
"""No option given."""


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `Connection` in the place of its parameter `connection`."""
    hints = get_type_hints(command, include_extras=True)
    options = get_type_hints(Connection, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "connection":
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=field.default,
                annotation=options[field.name],
            )
            for field in fields(Connection)
        ]

    @functools.wraps(command)
    def told(**given: Any) -> None:
        connection = Connection(**{field.name: given.pop(field.name) for field in fields(Connection)})
        command(connection=connection, **given)

    told.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return told


def run_pods(namespace: str, context: str) -> Pods | None:
    """The API server, when a person names it; without it KFP's own API must do."""
    if not (namespace or context):
        return None
    from tidegate.adapters.kfp_pods import RunPods  # noqa: PLC0415 - the Kubernetes client
    from tidegate.adapters.kube.person import PersonApi  # noqa: PLC0415

    return RunPods(PersonApi.of_kubeconfig(namespace, context))


def read_parameters(given: list[str] | None, file: Path | None) -> dict[str, Any]:
    """Parameters of a file and of -p.

    Raises:
        InvalidInput: the file holds no mapping, or an item is not NAME=JSON.
    """
    found: dict[str, Any] = {}
    if file is not None:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidInput(f"--params {file} cannot be read: {error}", next_step="Correct the file.") from None
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise InvalidInput(f"--params {file} holds no mapping of names to values", next_step="Write name: value.")
        found = content
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--parameter {item!r} is not NAME=JSON", next_step="Write for example -p rank=8.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
