"""`tidegate models`: registered versions, their cards and aliases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.context import actor, open_database
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.clock import SystemClock
from tidegate.errors import InvalidInput, NotFound
from tidegate.settings import load_settings

if TYPE_CHECKING:
    from tidegate.adapters.mlflow_registry import MlflowRegistry
    from tidegate.domain.version import ModelVersion

app = typer.Typer(no_args_is_help=True, help="Look at registered versions and their cards; set aliases.")

_COLUMNS = {
    "version": "version",
    "aliases": "aliases",
    "exact_match": "exact match",
    "gate": "gate",
    "rows": "test rows",
    "parent": "from",
    "trigger": "trigger",
    "created": "created",
}
VersionArgument = Annotated[str, typer.Argument(help="NAME/VERSION or NAME@ALIAS: banking-intent@champion.")]


@app.command("list")
def list_versions(
    name: Annotated[str | None, typer.Argument(help="A registered model; without it, all names.")] = None,
    output: OutputOption = Format.table,
) -> None:
    """List registered models, or the versions of one."""
    registry = _registry()
    names = registry.names()
    if name is None:
        rows = [{"name": item, "versions": len(registry.versions(item)), **_aliases(registry, item)} for item in names]
        columns = {"name": "model", "versions": "versions", "aliases": "aliases"}
        render(rows, output, columns, empty="no model is registered")
        return
    if name not in names:
        raise NotFound(f"model {name!r} is not registered", next_step=f"There are: {', '.join(names) or 'none'}.")
    aliases = registry.aliases(name)
    rows = [_row(version, aliases) for version in registry.versions(name)]
    render(rows, output, _COLUMNS)


@app.command()
def show(version: VersionArgument, output: OutputOption = Format.table) -> None:
    """Show everything that a version is made of."""
    registry = _registry()
    found = _find(registry, version)
    if output == Format.table:
        row = _row(found, registry.aliases(found.name))
        checks = {f"gate: {check.name}": check.reason for check in found.report.gate.checks}
        render({"version": found.key, **{k: v for k, v in row.items() if k != "version"}, **checks}, output)
        return
    render(found, output)


@app.command()
def card(version: VersionArgument) -> None:
    """Print a version's model card (Markdown)."""
    from rich.markdown import Markdown  # noqa: PLC0415 - only here

    from tidegate.adapters import storage  # noqa: PLC0415 - fsspec

    found = _find(_registry(), version)
    text = storage.read_text(storage.join(found.adapter.uri.rstrip("/").rpartition("/")[0], "tidegate/model_card.md"))
    out = console()
    if out.is_terminal:
        out.print(Markdown(text))
    else:
        typer.echo(text)


@app.command()
def alias(
    version: VersionArgument,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias to set, for example challenger.")],
) -> None:
    """Point an alias at a version: `challenger` nominates it for the deployments that follow this alias.

    `champion` says what serves: the controller alone sets it, and this command refuses it.
    """
    from tidegate.ledger import Ledger  # noqa: PLC0415 - SQLAlchemy

    registry = _registry()
    found = _find(registry, version)
    if name == "champion":
        raise InvalidInput(
            "the alias 'champion' is set by the controller alone",
            next_step=f"Nominate the version: tidegate models alias {found.key} challenger.",
        )
    ledger = Ledger(open_database(), SystemClock())  # first: an alias that no ledger hears of is a gap in the record
    registry.set_alias(found.name, name, found.version)
    ledger.append("alias.set", found.name, {"alias": name, "version": found.version}, actor=actor())
    console(stderr=True).print(f"{found.name}@{name} is version {found.version}")


@app.command()
def export(
    version: VersionArgument,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
) -> None:
    """Write a version as one self-contained folder: base, adapter, tokenizer, prompt and card; loads offline."""
    from components.register.export import export as write_export  # noqa: PLC0415 - MLflow takes seconds to import

    found = _find(_registry(), version)
    target = write_export(found, folder, cache=load_settings().cache)
    console(stderr=True).print(f"wrote {found.key} to {target}; load it with mlflow.pyfunc.load_model({str(target)!r})")


def _registry() -> MlflowRegistry:
    from tidegate.adapters.mlflow_registry import MlflowRegistry  # noqa: PLC0415 - httpx

    settings = load_settings()
    return MlflowRegistry(settings.mlflow_uri, cache=settings.cache)


def _find(registry: MlflowRegistry, text: str) -> ModelVersion:
    name, at, alias_name = text.partition("@")
    if at:
        found = registry.by_alias(name, alias_name)
        if found is None:
            known = ", ".join(sorted(registry.aliases(name))) or "none"
            raise NotFound(f"{name} has no alias {alias_name!r}", next_step=f"Its aliases: {known}.")
        return found
    name, slash, number = text.rpartition("/")
    if not slash:
        raise InvalidInput(f"{text!r} names no version", next_step="Write NAME/VERSION or NAME@ALIAS.")
    return registry.get(name, number)


def _aliases(registry: MlflowRegistry, name: str) -> dict[str, str]:
    return {"aliases": ", ".join(f"{key}={value}" for key, value in sorted(registry.aliases(name).items()))}


def _row(version: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    report = version.report
    metric = report.metric("exact_match")
    interval = f" [{metric.interval.low:.3f}, {metric.interval.high:.3f}]" if metric.interval else ""
    verdict = "passed" if report.gate.passed else "OVERRIDDEN" if report.override else "failed"
    return {
        "version": version.version,
        "aliases": ", ".join(sorted(key for key, value in aliases.items() if value == version.version)) or None,
        "exact_match": f"{metric.value:.3f}{interval}",
        "gate": verdict,
        "rows": metric.n,
        "parent": version.lineage.parent_version,
        "trigger": version.lineage.trigger,
        "created": version.created_at.isoformat(timespec="seconds"),
    }
