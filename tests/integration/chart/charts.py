"""Rendering the chart with the real Helm."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.kube_api import ROOT

CHART = ROOT / "helm" / "tidegate"
Json = dict[str, Any]
try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml: the same, slower
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


class RefusedError(Exception):
    """Helm did not render; the text is what it said."""


@dataclass(frozen=True)
class Helm:
    """The program."""

    program: Path

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None) -> str:
        """What a command writes to standard output.

        Raises:
            RefusedError: it failed.
        """
        given = ["--values", "-"] if values is not None else []
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE"))}
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        done = subprocess.run(
            [self.program, *arguments, *given],
            input=json.dumps(values) if values is not None else "",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RefusedError(done.stderr)
        return done.stdout

    def text(self, values: Mapping[str, Any], *, name: str = "tidegate", namespace: str = "models") -> str:
        """The manifests as text."""
        return self.run("template", name, str(CHART), "--namespace", namespace, values=values)

    def render(self, values: Mapping[str, Any], *, name: str = "tidegate", namespace: str = "models") -> list[Json]:
        """The manifests as objects."""
        return documents(self.text(values, name=name, namespace=namespace))

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Why Helm does not render."""
        try:
            self.text(values)
        except RefusedError as error:
            return str(error)
        raise AssertionError("Helm rendered it")


def documents(text: str) -> list[Json]:
    return [found for found in yaml.load_all(text, Loader=_Loader) if found]


def merged(*values: Mapping[str, Any]) -> Json:
    """As Helm merges values: maps deeply, the later wins."""
    result: Json = {}
    for given in values:
        for key, value in given.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def pods(objects: list[Json]) -> Iterator[tuple[str, Json]]:
    """(name of the workload, pod template) of whatever makes pods."""
    for item in objects:
        spec = item.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", {}).get("template") or spec.get("template")
        if template and "spec" in template:
            yield f"{item['kind']}/{item['metadata']['name']}", template


def one(objects: list[Json], kind: str, name: str, namespace: str | None = None) -> Json:
    """The object of that kind and name."""
    found = [
        item
        for item in objects
        if (item["kind"], item["metadata"]["name"]) == (kind, name)
        and namespace in (None, item["metadata"].get("namespace"))
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]
