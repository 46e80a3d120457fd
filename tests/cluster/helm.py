"""Helm 4 against the one-node cluster."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.node import ROOT, Node

CHART = ROOT / "helm" / "tidegate"


@functools.cache
def program() -> Path:
    """Helm, built by the first call on a machine."""
    built = subprocess.run([ROOT / "hack" / "helm" / "build.sh"], capture_output=True, text=True, check=True)
    return Path(built.stdout.strip())


def helm(node: Node, *arguments: str, namespace: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs it; look at the status yourself."""
    command = [str(program()), f"--kubeconfig={node.kubeconfig}", f"--namespace={namespace}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)


def rendered(template: str, *values: Path | str, namespace: str = "default") -> list[dict[str, Any]]:
    """The objects of one template of the chart for a release in a namespace; values are files, or `name=value`."""
    given = [part for item in values for part in (("--values" if isinstance(item, Path) else "--set"), str(item))]
    command = [str(program()), "template", "tidegate", str(CHART), "--show-only", f"templates/{template}", *given]
    command.append(f"--namespace={namespace}")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def install(
    node: Node,
    release: str,
    namespace: str,
    values: Sequence[Path | Mapping[str, Any]],
    folder: Path,
    *more: str,
    chart: Path = CHART,
) -> subprocess.CompletedProcess[str]:
    """`helm upgrade --install --wait` with values files, later ones winning; mappings are written to `folder`."""
    files = []
    for number, given in enumerate(values):
        if isinstance(given, Path):
            files.append(given)
        else:
            files.append(folder / f"values-{number}.yaml")
            files[-1].write_text(yaml.safe_dump(dict(given)))
    chosen = [part for file in files for part in ("--values", str(file))]
    # The definitions outlive a release, on purpose: the next one, in another namespace, takes them over.
    waiting = ("--take-ownership", "--wait", "--timeout=240s")
    arguments = ("upgrade", "--install", release, str(chart), *chosen, *waiting, *more)
    return helm(node, *arguments, namespace=namespace)
