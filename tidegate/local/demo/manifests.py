"""The demo's manifests: those of `examples/local`, under the demo's names."""

from __future__ import annotations

from importlib.resources import files

from tidegate.domain.resources import AnyResource, ModelDeployment
from tidegate.manifests import parse_manifests


def demo_manifests(deployment: str, model: str) -> list[AnyResource]:
    """The example's runtime, and its deployment under another name and for another registered model."""
    folder = files("tidegate.local.demo") / "examples"
    found = [
        resource
        for item in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if item.name.endswith(".yaml")
        for resource in parse_manifests(item.read_text(encoding="utf-8"), item.name)
    ]
    return [_renamed(item, deployment, model) if isinstance(item, ModelDeployment) else item for item in found]


def _renamed(item: ModelDeployment, deployment: str, model: str) -> ModelDeployment:
    metadata = item.metadata.model_copy(update={"name": deployment})
    spec = item.spec.model_copy(update={"model": item.spec.model.model_copy(update={"name": model})})
    return item.model_copy(update={"metadata": metadata, "spec": spec})
