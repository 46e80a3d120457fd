"""Bringing packages to Kubeflow Pipelines, and starting them there: what is already so is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.release import version_name
from tidegate.adapters.kfp_arguments import check_arguments
from tidegate.adapters.kfp_client import KfpApi, Pipeline, PipelineVersion, Run
from tidegate.adapters.kfp_packages import Package, content_digest, parameters, refuse_caching, split_spec
from tidegate.adapters.kfp_versions import find_version
from tidegate.errors import Conflict, Denied, Unavailable

__all__ = ["Uploaded", "checked", "find_version", "not_run", "start", "upload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload did."""

    pipeline: str
    version: str
    result: Literal["uploaded", "unchanged"]
    digest: str
    runs: str
    """The version that runs, schedules and the receiver take now, where they are told no other."""


def upload(api: KfpApi, package: Package, version: str = "") -> Uploaded:
    """The package as a version of the pipeline of its name.

    Raises:
        Conflict: a version of this name has other content.
    """
    name = version_name(package.digest, version)
    pipeline, pinned = api.pipeline(package.name) or _create(api, package), api.settings.version
    there = api.versions(pipeline.id)
    for found in there:
        if found.name != name:
            continue
        if content_digest(found.spec) == package.digest:
            runs = pinned or there[0].name
            return Uploaded(pipeline=package.name, version=name, result="unchanged", digest=package.digest, runs=runs)
        raise Conflict(
            f"version {name!r} of pipeline {package.name!r} is there with other content than {package.path}",
            next_step="A version is never replaced: give this one a name of its own with --version, "
            "or compile with the site file that it was made with.",
        )
    api.upload_version(package.path, pipeline.id, name, f"tidegate {name}, content {package.digest}")
    return Uploaded(pipeline=package.name, version=name, result="uploaded", digest=package.digest, runs=pinned or name)


def _create(api: KfpApi, package: Package) -> Pipeline:
    try:
        return api.create_pipeline(package.name, package.description)
    except Conflict:  # somebody else was first
        return api.must_have(package.name)


def not_run(done: Uploaded) -> str:
    """What to do when what was uploaded, or left alone, is not what runs; empty when it is."""
    if done.runs == done.version:
        return ""
    return (
        f"version {done.version} of {done.pipeline} is not what runs: runs, schedules and the receiver take "
        f"{done.runs}. To have this one taken, say TIDEGATE_KFP__VERSION={done.version} (chart value kfp.version), or "
        "--version with a single command, and schedules anew."
    )


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
        Unavailable: Kubeflow Pipelines does not answer. Where it may have started the run all the same, the error says
            how to find out.
    """
    checked(pipeline, version, arguments)
    asked = False

    def ask() -> None:
        nonlocal asked
        asked = True

    there = api.runs_named(name)
    if there:
        raise Conflict(
            f"run {name!r} is there already ({there[0].state}): {api.run_url(there[0].id)}",
            next_step="Choose another --name: one name is one run, so that it is found again.",
        )
    try:
        return api.start(name, version.pipeline, version.id, arguments, claim=ask)
    except Denied:
        raise
    except Unavailable as error:
        if not asked:
            raise
        raise Unavailable(
            f"run {name!r} may have started, for its request was sent: {error.problem}",
            next_step=f"Say the same with --name {name}: it starts the run, or finds that it is there.",
        ) from error
