"""The engines that a runtime has had, as ControllerRevisions: what a Deployment keeps its history in.

The first engine has no name, later ones are e2, e3, … A manifest that says again what an earlier one said is that
engine again. Replicas and the node pool are not part of it: they change nothing of what an engine answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from serving.operator.objects import MANAGED, Objects, ours
from serving.operator.rayservice import RUNTIME
from tidegate.adapters.kube.kinds import CONTROLLER_REVISION, OWN, RAY_SERVICE, Object, annotations_of
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.release import FIRST, engine_of
from tidegate.domain.resources import ModelRuntime, ModelRuntimeSpec
from tidegate.ids import digest_json
from tidegate.logging import get_logger
from tidegate.store.leases import Fence

_log = get_logger(__name__)
_DIGEST = "tidegate.dev/engine-digest"
_KEPT = 10
"""Revisions kept beside those in use, as a Deployment keeps its history."""


class KubeFleet:
    """The `Fleet` port of a cluster."""

    def __init__(self, objects: Objects, settings: ClusterSettings) -> None:
        self._objects = objects
        self._settings = settings
        self._digests: dict[str, str] = {}

    def current(self, runtime: ModelRuntime) -> str:
        wanted = engine_digest(self._resolved(runtime))
        found = [body for body in self._of(runtime.metadata.name) if self._digest(body) == wanted]
        return _name(found[0]) if found else FIRST

    def manifest(self, runtime: ModelRuntime, engine: str) -> dict[str, Any] | None:
        """The engine's own spec, with the replicas and the pool that the runtime has now."""
        now = _dumped(self._resolved(runtime))
        if engine == self.current(runtime):
            return now
        body = next((body for body in self._of(runtime.metadata.name) if _name(body) == engine), None)
        if body is None:
            return None
        placement = {**now["placement"], "gpusPerReplica": body["data"]["placement"]["gpusPerReplica"]}
        return {**body["data"], "placement": placement}

    def engines(self, runtime: str) -> list[str]:
        """Those that are remembered, and those that run: somebody may have deleted a revision."""
        known = [_name(body) for body in self._of(runtime)]
        running = [name for name in self._running(runtime) if name not in known]
        return [*known, *running] or [FIRST]

    def declare(self, runtime: ModelRuntime, fence: Fence) -> None:
        """Raises:
        Conflict: another revision was made meanwhile; the next round sees it.
        """
        name = runtime.metadata.name
        known = self._of(name)
        spec = self._resolved(runtime)
        wanted = engine_digest(spec)
        if any(self._digest(body) == wanted for body in known):
            self._forget_old(name, known, fence)
            return
        revision = max((int(body["revision"]) for body in known), default=self._released_on(name) - 1) + 1
        # No owner reference: a cascading deletion would take engines and their history from under those who use them.
        metadata: Object = {
            "name": f"{name}-{revision}",
            "labels": {**MANAGED, RUNTIME: name},
            "annotations": {_DIGEST: wanted},
        }
        body = {"metadata": metadata, "revision": revision, "data": _dumped(spec)}
        self._objects.create(CONTROLLER_REVISION, body, fence)
        _log.info("engine declared", runtime=name, revision=revision)

    def _released_on(self, runtime: str) -> int:
        """The newest revision that releases on this runtime name: 1, or what a backup without revisions left behind.

        The engine that is declared now takes that place, so that what serves finds its engine again.
        """
        names = [FIRST]
        for body in self._objects.all(OWN["ModelDeployment"]):
            if body["spec"]["runtimeRef"]["name"] == runtime:
                names.append(engine_of(str((body.get("status") or {}).get("stable") or "")))
        return max(map(_revision, names))

    def forget(self, runtime: str, fence: Fence) -> None:
        for body in self._of(runtime):
            self._objects.delete(CONTROLLER_REVISION, body["metadata"]["name"], fence)

    def _running(self, runtime: str) -> list[str]:
        """Engines of the runtime that a RayService is declared for, by their names within it."""
        names = (body["metadata"]["name"] for body in self._objects.all(RAY_SERVICE) if ours(RAY_SERVICE, body))
        return [name.removeprefix(runtime).removeprefix("-") for name in names if _is_engine_of(name, runtime)]

    def _forget_old(self, runtime: str, known: list[Object], fence: Fence) -> None:
        """Removes revisions that nobody is, or may go back, on: CI that names an image per commit makes one each."""
        if len(known) <= _KEPT:
            return
        used = {*self._running(runtime), *map(engine_of, self._releases(runtime))}
        for body in known[:-_KEPT]:
            if _name(body) not in used:
                self._objects.delete(CONTROLLER_REVISION, body["metadata"]["name"], fence)

    def _releases(self, runtime: str) -> Iterator[str]:
        """What deployments on the runtime serve, judge, or have served before, and what users are routed to."""
        for body in self._objects.all(OWN["ModelDeployment"]):
            if body["spec"]["runtimeRef"]["name"] != runtime:
                continue
            status = body.get("status") or {}
            state = status.get("state") or {}
            named = (status.get("stable"), status.get("candidate"), state.get("previous"))
            yield from (str(release) for release in named if release)
            routing = self._objects.get(OWN["ModelRouting"], body["metadata"]["name"])
            yield from (str(arm["version"]) for arm in ((routing or {}).get("spec") or {}).get("arms", ()))

    def _digest(self, body: Object) -> str:
        """Computed once: a revision never changes."""
        uid = body["metadata"]["uid"]
        if uid not in self._digests:
            self._digests[uid] = _digest(body)
        return self._digests[uid]

    def _resolved(self, runtime: ModelRuntime) -> ModelRuntimeSpec:
        """The spec with image and Ray named: another default of the platform is another engine, too."""
        image = runtime.spec.image or self._settings.engine_image or None
        ray = runtime.spec.ray_version or self._settings.ray_version
        return runtime.spec.model_copy(update={"image": image, "ray_version": ray})

    def _of(self, runtime: str) -> list[Object]:
        found = [
            body
            for body in self._objects.all(CONTROLLER_REVISION)
            if (body["metadata"].get("labels") or {}).get(RUNTIME) == runtime and _DIGEST in annotations_of(body)
        ]
        return sorted(found, key=lambda body: int(body["revision"]))


def engine_digest(spec: ModelRuntimeSpec) -> str:
    """What makes an engine another one: base model, options, image, GPUs of a replica."""
    found = _dumped(spec)
    return digest_json({**found, "placement": {"gpusPerReplica": found["placement"]["gpusPerReplica"]}})


def _dumped(spec: ModelRuntimeSpec) -> dict[str, Any]:
    found: dict[str, Any] = spec.model_dump(mode="json", by_alias=True)
    return found


def _digest(body: Object) -> str:
    """Of what was declared as this release reads it: a field that a newer release added is no other engine."""
    try:
        return engine_digest(ModelRuntimeSpec.model_validate(body["data"]))
    except ValidationError:
        return annotations_of(body)[_DIGEST]


def _name(body: Object) -> str:
    return FIRST if int(body["revision"]) == 1 else f"e{int(body['revision'])}"


def _is_engine_of(name: str, runtime: str) -> bool:
    return name == runtime or re.fullmatch(rf"{re.escape(runtime)}-e[1-9][0-9]*", name) is not None


def _revision(name: str) -> int:
    """Of an engine's name; of one that nobody declared it is 1."""
    return int(name.removeprefix("e")) if re.fullmatch(r"e[1-9][0-9]{0,8}", name) else 1
