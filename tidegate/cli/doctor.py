"""`tidegate doctor`: checks of this installation, each saying how to mend what it found."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import typer

from tidegate.cli.checks.finding import Finding
from tidegate.cli.output import Format, OutputOption, render
from tidegate.settings import Settings, load_settings

CHECKS = ("packages", "disk", "platform", "base_model", "records")
"""Modules of `tidegate.cli.checks`, in the order in which they run."""


def command(output: OutputOption = Format.table) -> None:
    """Check this installation; exit 0 when all is well, 1 when something has to be mended.

    Looks only: nothing is changed. The checks: Python and packages, disk room, processes and endpoints, the base model,
    database with ledger and secrets.
    """
    findings = examine(load_settings())
    render(findings, output, {"check": "check", "state": "state", "message": "found", "mend": "to mend it"})
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> list[Finding]:
    """Runs all checks. One that fails itself is a problem, not the end of the others."""
    return [_guarded(name, settings) for name in CHECKS]


def _guarded(name: str, settings: Settings) -> Finding:
    try:
        check: Callable[[Settings], Finding] = import_module(f"tidegate.cli.checks.{name}").check
        return check(settings)
    except Exception as error:
        mend = "Mend the packages first if that check failed, else report this."
        return Finding(name.replace("_", "-"), "problem", f"the check failed: {type(error).__name__}: {error}", mend)
