"""`tidegate status`: the parts of the platform, and what is served."""

from __future__ import annotations

from typing import Any

from tidegate.cli.context import open_database
from tidegate.cli.output import Format, OutputOption, console, render
from tidegate.clock import SystemClock

_MEBIBYTE = 1 << 20
_PARTS = {"name": "part", "state": "state", "pid": "pid", "memory": "memory", "address": "address", "purpose": "for"}
_DEPLOYMENTS = {
    "name": "deployment",
    "stable": "stable",
    "candidate": "candidate",
    "phase": "phase",
    "step": "step",
    "weight": "weight",
    "pairs": "pairs",
    "reason": "reason",
}


def command(output: OutputOption = Format.table) -> None:
    """Show the platform's parts and, for every deployment, what serves and how its rollout goes."""
    from tidegate.local.platform import LocalPlatform  # noqa: PLC0415 - see up

    platform = LocalPlatform()
    parts = [
        {
            "name": part.name,
            "state": part.state,
            "pid": part.pid,
            "memory": f"{part.memory_bytes // _MEBIBYTE} MiB" if part.memory_bytes else None,
            "address": part.address,
            "purpose": part.purpose,
            "log": str(part.log),
        }
        for part in platform.status()
    ]
    deployments = _deployments() if platform.home.exists() else []
    if output != Format.table:
        render({"home": str(platform.home), "parts": parts, "deployments": deployments}, output)
        return
    render(parts, output, _PARTS)
    console().print()
    render(deployments, output, _DEPLOYMENTS, empty="no deployment is applied")


def _deployments() -> list[dict[str, Any]]:
    from tidegate.store.resources import ResourceStore  # noqa: PLC0415 - SQLAlchemy

    stored = ResourceStore(open_database(), SystemClock()).list("ModelDeployment")
    return [
        {"name": item.resource.metadata.name, **{key: item.status.get(key) for key in _DEPLOYMENTS if key != "name"}}
        for item in stored
    ]
