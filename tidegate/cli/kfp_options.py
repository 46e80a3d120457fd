"""Options and access that all commands of `tidegate pipelines` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from tidegate.errors import InvalidInput

if TYPE_CHECKING:
    from tidegate.adapters.kfp_client import KfpApi
    from tidegate.adapters.kfp_follow import Pods

UrlOption = Annotated[
    str, typer.Option("--url", help="API of Kubeflow Pipelines. Default: TIDEGATE_KFP__URL.", show_default=False)
]
KfpNamespaceOption = Annotated[
    str,
    typer.Option("--kfp-namespace", help="Profile namespace (multi-user). Default: TIDEGATE_KFP__NAMESPACE."),
]
TokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with a bearer token: OIDC, or a projected service-account token."),
]
CookieOption = Annotated[
    Path | None, typer.Option("--cookie-file", help="File with a session cookie, NAME=VALUE (authservice_session=…).")
]
HeaderOption = Annotated[
    str, typer.Option("--header-file", help="Header that a proxy wants: NAME=FILE with its value.", metavar="NAME=FILE")
]
CaOption = Annotated[Path | None, typer.Option("--ca-file", help="Certificate authority of the API.")]
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


def connect(
    url: str,
    namespace: str,
    token: Path | None,
    cookie: Path | None,
    header: str,
    ca: Path | None,
) -> KfpApi:
    """The API that options and settings name; an option wins.

    Raises:
        TidegateError: nothing is named, it does not answer, or it does not let us in.
    """
    from tidegate.adapters.kfp_client import KfpApi  # noqa: PLC0415 - the SDK takes a second
    from tidegate.settings import load_kfp  # noqa: PLC0415

    name, equals, file = header.partition("=")
    if header and not (equals and name and file):
        raise InvalidInput(
            f"--header-file {header!r} is not NAME=FILE", next_step="Write for example kubeflow-userid=me.txt."
        )
    given: dict[str, Any] = {
        "url": url,
        "namespace": namespace,
        "token_path": token,
        "cookie_path": cookie,
        "header_name": name,
        "header_value_path": Path(file) if file else None,
        "ca_path": ca,
    }
    return KfpApi(load_kfp().model_copy(update={key: value for key, value in given.items() if value}))


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
