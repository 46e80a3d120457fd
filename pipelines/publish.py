"""Bringing packages to Kubeflow Pipelines, and starting them there: what is already so is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.release import version_name
from tidegate.adapters.kfp_arguments import check_arguments
from tidegate.adapters.kfp_client import KfpApi, Pipeline, PipelineVersion, Run
from tidegate.adapters.kfp_packages import Package, content_digest, parameters, refuse_caching, split_spec
from tidegate.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload did."""

    pipeline: str
    version: str
    result: Literal["uploaded", "unchanged"]
    digest: str


def upload(api: KfpApi, package: Package, version: str = "") -> Uploaded:
    """The package as a version of the pipeline of its name.

    Raises:
        Conflict: a version of this name has other content.
    """
    name = version_name(package.digest, version)
    pipeline = api.pipeline(package.name) or _create(api, package)
    for found in api.versions(pipeline.id):
        if found.name != name:
            continue
        if content_digest(found.spec) == package.digest:
            return Uploaded(pipeline=package.name, version=name, result="unchanged", digest=package.digest)
        raise Conflict(
            f"version {name!r} of pipeline {package.name!r} is there with other content than {package.path}",
            next_step="A version is never replaced: give this one a name of its own with --version, "
            "or compile with the site file that it was made with.",
        )
    api.upload_version(package.path, pipeline.id, name, f"tidegate {name}, content {package.digest}")
    return Uploaded(pipeline=package.name, version=name, result="uploaded", digest=package.digest)


def _create(api: KfpApi, package: Package) -> Pipeline:
    try:
        return api.create_pipeline(package.name, package.description)
    except Conflict:  # somebody else was first
        return api.must_have(package.name)


def find_version(api: KfpApi, pipeline: str, version: str = "") -> PipelineVersion:
    """A version by name; without a name the newest.

    Raises:
        NotFound: there is no such pipeline or version.
    """
    versions = api.versions(api.must_have(pipeline).id)
    chosen = next((item for item in versions if item.name == version or not version), None)
    if chosen is None:
        known = ", ".join(item.name for item in versions[:5]) or "none"
        what = f"version {version!r}" if version else "version"
        raise NotFound(
            f"pipeline {pipeline!r} has no {what}",
            next_step=f"Upload one with 'tidegate pipelines upload'. There are: {known}.",
        )
    return chosen


def checked(pipeline: str, version: PipelineVersion, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments, if the version takes them and does what it says with them.

    Raises:
        InvalidInput: names the argument.
        ContractBroken: the version caches.
    """
    spec, _ = split_spec(version.spec)
    refuse_caching(pipeline, version.name, spec)
    check_arguments(pipeline, parameters(spec), arguments)
    return arguments


def start(api: KfpApi, name: str, pipeline: str, version: PipelineVersion, arguments: Mapping[str, Any]) -> Run:
    """A run of a version, with checked arguments.

    Raises:
        InvalidInput: an argument does not fit.
        ContractBroken: the version caches.
        Conflict: a run of this name is there.
    """
    checked(pipeline, version, arguments)
    there = api.runs_named(name)
    if there:
        raise Conflict(
            f"run {name!r} is there already ({there[0].state}): {api.run_url(there[0].id)}",
            next_step="Choose another --name; its steps would find the work of the other run.",
        )
    return api.start(name, version.pipeline, version.id, arguments)
