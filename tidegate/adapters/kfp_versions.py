"""Which version of a pipeline is run: the one that is named, else the one that the settings pin, else the newest.

Newest means uploaded last, by anybody: a roll-back to an earlier release, and a second installation in the same
Kubeflow Pipelines, must say which one they mean.
"""

from __future__ import annotations

from tidegate.adapters.kfp_client import KfpApi, PipelineVersion
from tidegate.errors import NotFound


def find_version(api: KfpApi, pipeline: str, version: str = "") -> PipelineVersion:
    """A version by name; without a name the pinned one, and without a pin the newest.

    Raises:
        NotFound: there is no such pipeline or version.
    """
    pinned = "" if version else api.settings.version
    name = version or pinned
    versions = api.versions(api.must_have(pipeline).id)
    chosen = next((item for item in versions if item.name == name or not name), None)
    if chosen is None:
        known = ", ".join(item.name for item in versions[:5]) or "none"
        what = f"version {name!r}" if name else "version"
        why = ", which TIDEGATE_KFP__VERSION names" if pinned else ""
        raise NotFound(
            f"pipeline {pipeline!r} has no {what}{why}",
            next_step=f"Upload one with 'tidegate pipelines upload'. There are: {known}.",
        )
    return chosen
