"""Compiled packages as they lie in a file: read strictly, compared, and asked for their parameters.

They are checked before anything is uploaded: the API server of KFP never answers to a malformed package, and keeps a
core busy until its pod is restarted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tidegate.adapters.kfp_arguments import Parameter
from tidegate.errors import ContractBroken, InvalidInput

_TYPES = {
    "STRING": "String",
    "NUMBER_INTEGER": "Integer",
    "NUMBER_DOUBLE": "Float",
    "BOOLEAN": "Boolean",
    "STRUCT": "Dict",
    "LIST": "List",
}
_AGAIN = "Compile it with 'tidegate pipelines compile'; packages are not edited by hand."
_MAX_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that KFP can take."""

    path: Path
    name: str
    description: str
    spec: Mapping[str, Any]
    platform: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of its content, whichever way it is written down."""
        return content_digest({"pipeline_spec": self.spec, "platform_spec": self.platform})

    @property
    def parameters(self) -> dict[str, Parameter]:
        return parameters(self.spec)


def read_package(path: Path) -> Package:
    """A package of a file, checked against the format's own definition.

    Raises:
        InvalidInput: it is no package; the message names the place.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidInput(f"package {path} has more than {_MAX_BYTES >> 20} MiB", next_step=_AGAIN)
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"package {path} cannot be read: {error}", next_step=_AGAIN) from None
    if not documents or len(documents) > 2 or not all(isinstance(item, dict) for item in documents):
        raise InvalidInput(
            f"package {path} has {len(documents)} YAML documents; a package is a pipeline, and what its platform adds",
            next_step=_AGAIN,
        )
    spec, platform = documents[0], documents[1] if len(documents) == 2 else {}
    _check_schema(path, spec, platform)
    _check_wiring(path, spec)
    info = spec["pipelineInfo"]
    return Package(
        path=path, name=info["name"], description=str(info.get("description", "")), spec=spec, platform=platform
    )


def parameters(spec: Mapping[str, Any]) -> dict[str, Parameter]:
    """What a pipeline takes, by name."""
    inputs = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    return {
        name: Parameter(
            type=_TYPES.get(item.get("parameterType", ""), "String"),
            required=not item.get("isOptional", False) and "defaultValue" not in item,
        )
        for name, item in inputs.items()
    }


def split_spec(found: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(pipeline, platform) of what the API keeps of a version: the pipeline alone, or both under names."""
    if "pipeline_spec" in found:
        return found["pipeline_spec"] or {}, found.get("platform_spec") or {}
    return found, {}


def content_digest(found: Mapping[str, Any]) -> str:
    """Of a version's content. JSON has no whole numbers, and the API leaves empty values out: both are evened."""
    spec, platform = split_spec(found)
    text = json.dumps([_evened(spec), _evened(platform)], sort_keys=True, ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def caches(spec: Mapping[str, Any]) -> list[str]:
    """The tasks of a pipeline, and of pipelines in it, whose results may be taken from an earlier run."""
    dags = [spec.get("root", {}), *spec.get("components", {}).values()]
    tasks = [found for item in dags for found in item.get("dag", {}).get("tasks", {}).items()]
    return [name for name, task in tasks if task.get("cachingOptions", {}).get("enableCache")]


def refuse_caching(pipeline: str, version: str, spec: Mapping[str, Any]) -> None:
    """No run of a version that caches.

    Raises:
        ContractBroken: names its tasks.
    """
    if cached := caches(spec):
        raise ContractBroken(
            f"version {version!r} of pipeline {pipeline!r} caches {', '.join(cached)}: "
            "a run with equal parameters would take an earlier run's results, and do and register nothing",
            next_step="Upload this release's pipelines with 'tidegate pipelines upload'; in a pipeline of your own, "
            "set_caching_options(enable_caching=False) for every task.",
        )


def _evened(value: Any) -> Any:
    if isinstance(value, Mapping):
        items = {str(key): _evened(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item not in ({}, None)}
    if isinstance(value, list):
        return [_evened(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value


def _check_schema(path: Path, spec: Mapping[str, Any], platform: Mapping[str, Any]) -> None:
    from google.protobuf import json_format  # noqa: PLC0415
    from kfp.kubernetes import kubernetes_executor_config_pb2  # noqa: PLC0415
    from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: PLC0415 - takes a second

    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        for config in _executors(platform).values():
            json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except (json_format.ParseError, AttributeError, TypeError) as error:
        raise InvalidInput(f"package {path} is no pipeline: {error}", next_step=_AGAIN) from None


def _check_wiring(path: Path, spec: Mapping[str, Any]) -> None:
    """What the definition of the format leaves open and a run needs."""
    components, executors = spec.get("components", {}), spec.get("deploymentSpec", {}).get("executors", {})
    if not spec.get("pipelineInfo", {}).get("name"):
        raise InvalidInput(f"package {path}: pipelineInfo.name is missing", next_step=_AGAIN)
    tasks = spec.get("root", {}).get("dag", {}).get("tasks", {})
    if not tasks:
        raise InvalidInput(f"package {path}: root.dag has no tasks", next_step=_AGAIN)
    for name, task in tasks.items():
        component = task.get("componentRef", {}).get("name")
        if component not in components:
            raise InvalidInput(
                f"package {path}: task {name!r} is of component {component!r}, which is not in it", next_step=_AGAIN
            )
        label = components[component].get("executorLabel")
        if label is not None and not executors.get(label, {}).get("container", {}).get("image"):
            raise InvalidInput(f"package {path}: component {component!r} has no image", next_step=_AGAIN)


def _executors(platform: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (
        platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    )
    return found
