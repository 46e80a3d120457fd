"""Engines as RayServices: the `Engines` port of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.controller.conditions import holding
from serving.engines.catalog import render
from serving.operator.budget import budget, budget_name, onto, same
from serving.operator.objects import EPOCH, MANAGED, Objects, epoch_of, ours
from serving.operator.rayservice import EngineSite, least_replicas, rayservice, serve_config, service, service_name
from tidegate.adapters.kube.kinds import DISRUPTION_BUDGET, RAY_SERVICE, SERVICE, Object, annotations_of
from tidegate.adapters.serve_engines import ServeEngines, includes
from tidegate.clock import Clock, SystemClock
from tidegate.errors import Conflict, NotFound, TidegateError, Unavailable
from tidegate.ids import digest_json
from tidegate.logging import get_logger
from tidegate.ports import AdapterSlot, EngineStatus
from tidegate.store.leases import Fence

_log = get_logger(__name__)
_DIGEST = "tidegate.dev/spec-digest"
_MANAGER = "app.kubernetes.io/managed-by"


class RayServiceEngines:
    """Declares engines; KubeRay and Ray Serve bring them about.

    They have no owner reference: a ModelRuntime that is deleted with `--cascade=foreground`, as Argo CD does it, would
    take them at once from under those who use them. The runtime's finalizer holds it until they are removed.

    Args:
        objects: the API server's objects.
        site: node pools, images, addresses.
        token: file with Ray's token; None where Ray asks for none.
        home: folder for the lock of Serve's REST client.
        fence: the lease under which this operator writes now; None while it does not lead.
    """

    def __init__(
        self,
        objects: Objects,
        site: EngineSite,
        token: Path | None,
        home: Path,
        fence: Callable[[], Fence | None],
        clock: Clock | None = None,
    ) -> None:
        self._objects = objects
        self._site = site
        self._token = token
        self._home = home
        self._fence = fence
        self._clock = clock or SystemClock()
        self._unguarded: dict[str, str] = {}
        self._lock = threading.Lock()
        self._rays: dict[tuple[str, str, str], ServeEngines] = {}

    def ensure(self, runtime: str, spec: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> None:
        """Declares the wanted engine. Only a change of the adapters is applied inside the running replicas.

        Raises:
            InvalidInput: the spec cannot be rendered, or the API server refuses the RayService.
            Conflict: a RayService of that name is not ours, or another operator leads.
        """
        fence = self._leading()
        wanted = rayservice(runtime, spec, adapters, self._site)
        signed = {EPOCH: str(fence.epoch), _DIGEST: digest_json(wanted["spec"])}
        body = self._objects.get(RAY_SERVICE, runtime)
        if body is None:
            wanted["metadata"] |= {"annotations": signed}
            self._objects.create(RAY_SERVICE, wanted, fence)
            _log.info("engine declared", runtime=runtime, adapters=[slot.id for slot in adapters])
            return
        _ours(body)
        same = _same(body, wanted, signed[_DIGEST])
        if same and epoch_of(body) >= fence.epoch:
            return
        metadata = {**body["metadata"], "annotations": {**annotations_of(body), **signed}}
        spec_now = body["spec"] if same else {**body["spec"], **wanted["spec"]}
        self._objects.replace(RAY_SERVICE, {**body, "metadata": metadata, "spec": spec_now}, fence)
        _log.info("engine changed", runtime=runtime, adapters=[slot.id for slot in adapters])

    def status(self, runtime: str) -> EngineStatus:
        """What KubeRay, Serve and the replicas say now.

        Raises:
            NotFound: no RayService is declared.
            Unavailable: its Ray does not answer.
        """
        body = self._objects.get(RAY_SERVICE, runtime)
        if body is None:
            raise NotFound(f"no RayService {runtime!r} is declared", next_step="Wait a moment.")
        cluster = ((body.get("status") or {}).get("activeServiceStatus") or {}).get("rayClusterName")
        if not cluster:
            return EngineStatus(
                ready=False,
                url="",
                adapters=(),
                replicas_ready=0,
                replicas_wanted=0,
                message=_explanation(body)
                or "KubeRay has not begun with the RayService yet (is its operator installed?)",
            )
        self._keep_service(runtime, cluster)
        try:
            status = self._ray(runtime, cluster).status(runtime)
        except NotFound:
            said = _explanation(body) or "KubeRay has not applied the Serve configuration yet"
            return EngineStatus(ready=False, url="", adapters=(), replicas_ready=0, replicas_wanted=0, message=said)
        self._keep_budget(runtime, cluster, body, status)
        if pending := _pending(body):
            return status.model_copy(update={"ready": False, "message": status.message or pending})
        return status

    def remove(self, runtime: str) -> None:
        """Ends the runtime's engine; one that is not there is no error."""
        fence = self._leading()
        body = self._objects.get(RAY_SERVICE, runtime)
        if body is not None:
            _ours(body)
            self._objects.delete(RAY_SERVICE, runtime, fence)
        found = self._objects.api.get(SERVICE, service_name(runtime))
        if found is not None:
            _ours(found)
            self._objects.api.delete(SERVICE, service_name(runtime))
        guard = self._objects.api.get(DISRUPTION_BUDGET, budget_name(runtime))
        if guard is not None and _is_ours(guard):
            self._objects.api.delete(DISRUPTION_BUDGET, budget_name(runtime))

    # --- parts -------------------------------------------------------------------------------------------------------

    def _leading(self) -> Fence:
        fence = self._fence()
        if fence is None:
            raise Conflict("this operator does not lead", next_step="The one that leads does it.")
        return fence

    def _keep_service(self, runtime: str, cluster: str) -> None:
        """The Service before the engine, selecting the cluster that KubeRay calls active."""
        fence = self._fence()
        if fence is None:
            return
        wanted, name = service(runtime, cluster), service_name(runtime)
        body = self._objects.api.get(SERVICE, name)
        if body is None:
            self._objects.create(SERVICE, wanted, fence)
        elif not includes(body["spec"], wanted["spec"]):
            _ours(body)
            self._objects.replace(SERVICE, {**body, "spec": {**body["spec"], **wanted["spec"]}}, fence)

    def _keep_budget(self, runtime: str, cluster: str, body: Object, status: EngineStatus) -> None:
        """Which workers an eviction has to leave now. That it cannot be written makes no engine one that is away."""
        fence = self._fence()
        if fence is None or not ours(RAY_SERVICE, body):
            return
        try:
            self._write_budget(runtime, cluster, least_replicas(body), status, fence)
            self._unguarded.pop(runtime, None)
        except TidegateError as error:
            if self._unguarded.get(runtime) != str(error):
                _log.warning(
                    "engine's disruption budget not kept; it is tried again", engine=runtime, problem=str(error)
                )
            self._unguarded[runtime] = str(error)

    def _write_budget(self, runtime: str, cluster: str, least: int, status: EngineStatus, fence: Fence) -> None:
        before = self._objects.api.get(DISRUPTION_BUDGET, budget_name(runtime))
        if before is not None:
            _ours(before)
        wanted = budget(runtime, cluster, least, status, before, self._clock.now())
        if wanted is None:
            if before is not None:
                version = before["metadata"]["resourceVersion"]
                self._objects.api.delete(DISRUPTION_BUDGET, budget_name(runtime), resource_version=version)
        elif before is None:
            self._objects.create(DISRUPTION_BUDGET, wanted, fence)
        elif not same(wanted, before):
            self._objects.replace(DISRUPTION_BUDGET, onto(before, wanted), fence)

    def _ray(self, runtime: str, cluster: str) -> ServeEngines:
        token = self._read_token()  # each time: Secrets are rotated
        with self._lock:
            if (runtime, cluster, token) not in self._rays:
                words = {
                    "service": service_name(runtime),
                    "namespace": self._objects.api.namespace,
                    "cluster": cluster,
                    "runtime": runtime,
                }
                self._rays = {key: ray for key, ray in self._rays.items() if key[0] != runtime}
                self._rays[runtime, cluster, token] = ServeEngines(
                    dashboard_url=self._site.settings.ray_dashboard_url.format_map(words),
                    token=token,
                    engine_url=self._site.settings.engine_url.format_map(words),
                    lock=self._home / "engines.lock",
                    render=render,
                    remedy=f"See the pods of its Ray: kubectl -n {self._objects.api.namespace} get pods "
                    f"-l ray.io/cluster={cluster}",
                )
            return self._rays[runtime, cluster, token]

    def _read_token(self) -> str:
        if self._token is None:
            return ""
        try:
            return self._token.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Unavailable(
                f"Ray's token {self._token} cannot be read ({error.strerror})",
                next_step="Mount the Secret that ray_token_secret names.",
            ) from None


def _is_ours(body: Object) -> bool:
    return (body["metadata"].get("labels") or {}).get(_MANAGER) == MANAGED[_MANAGER]


def _ours(body: Object) -> None:
    if not _is_ours(body):
        name = body["metadata"]["name"]
        raise Conflict(
            f"{body.get('kind', 'object')} {name!r} exists and is not tidegate's",
            next_step=f"Rename the ModelRuntime, or remove that {body.get('kind', 'object')}.",
        )


def _same(body: Object, wanted: Mapping[str, Any], digest: str) -> bool:
    """Whether the RayService says what is wanted; KubeRay and the API server add defaults of their own."""
    have, want = dict(body["spec"]), dict(wanted["spec"])
    want.pop("serveConfigV2")
    unchanged = includes(serve_config(body), serve_config(wanted)) and includes(have, want)
    return unchanged and annotations_of(body).get(_DIGEST) == digest  # what is wanted no longer must go, too


def _pending(body: Object) -> str:
    """Why what answers now is not yet what this generation of the RayService asks for; empty when it is."""
    status = body.get("status") or {}
    if (replaces := holding(status, "UpgradeInProgress")) is not None:
        said = f": {replaces['message']}" if replaces.get("message") else ""
        return f"KubeRay prepares the Ray of this spec; the one before it answers{said}"
    if _applied(body):
        return ""
    return _explanation(body) or "KubeRay has not seen the newest RayService yet"


def _applied(body: Object) -> bool:
    """Whether KubeRay has acted on this generation of the RayService."""
    observed = (body.get("status") or {}).get("observedGeneration")
    return observed is None or int(observed) >= int(body["metadata"].get("generation", 0))


def _explanation(body: Object) -> str:
    """What KubeRay says is missing; empty when it says nothing."""
    status = body.get("status") or {}
    conditions = [
        f"{item['type']}: {item.get('message') or item.get('reason')}"
        for item in status.get("conditions", ())
        if item.get("status") == "False" and (item.get("message") or item.get("reason"))
    ]
    return "; ".join(conditions)
