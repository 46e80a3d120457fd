"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

NamespaceOption = Annotated[
    str,
    typer.Option(
        "-n",
        "--namespace",
        help="Act on a cluster, in this namespace. Default with TIDEGATE_PROFILE=cluster: the context's.",
        show_default=False,
    ),
]
ContextOption = Annotated[
    str,
    typer.Option(
        help="Act on a cluster: the one of this context of your kubeconfig. Default: the current context.",
        show_default=False,
    ),
]
