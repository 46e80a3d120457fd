"""The operator's objects as last seen, and the only way in which it writes any of them.

Reading costs no call: watches keep the objects current, and whatever is decided on a stale one is refused by its
resourceVersion. Every write is fenced twice: here by the lease, at the server by resourceVersion and `leaderEpoch`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidegate.adapters.kube.api import KubeApi, NotThere
from tidegate.adapters.kube.kinds import CONTROLLER_REVISION, OWN, RAY_SERVICE, ApiKind, Object, annotations_of
from tidegate.errors import Conflict, NotFound
from tidegate.store.leases import Fence

WATCHED: tuple[ApiKind, ...] = (*OWN.values(), RAY_SERVICE, CONTROLLER_REVISION)
EPOCH = "tidegate.dev/leader-epoch"
_SIGNED_IN_STATUS = frozenset({"ModelRuntime", "ModelDeployment"})
_OWNED: tuple[ApiKind, ...] = (*(OWN[name] for name in sorted(_SIGNED_IN_STATUS)), OWN["ModelRouting"], RAY_SERVICE)
_HIGHEST_EPOCH = 2**31 - 2
"""A Lease counts its holders in an int32. A higher number was put there by hand, and no lease could ever exceed it."""
MANAGED = {"app.kubernetes.io/managed-by": "tidegate"}


class Objects:
    """Thread-safe.

    Args:
        api: the API server.
        check: refuses a fence whose lease has run out here (`LeaseElection.check`).
    """

    def __init__(self, api: KubeApi, check: Callable[[Fence | None], None]) -> None:
        self.api = api
        self._check = check
        self._lock = threading.RLock()
        self._known: dict[str, dict[str, Object]] = {}
        self.missing = "the API server's objects have not been listed yet"
        """Why nothing can be operated: empty once every kind was listed, until one of them is gone."""
        self.listed = False
        """Whether every kind has been listed once."""

    # --- reading -----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Lists everything anew: at the start, and now and then, should a watch have missed something.

        Raises:
            Unavailable: the API server does not answer, or has not all definitions.
        """
        for kind in WATCHED:
            try:
                items, version = self.api.list(kind)
            except NotThere as error:
                step = "Install the tidegate chart's definitions (helm/tidegate/files/crds) and KubeRay."
                missing = NotFound(f"the API server knows no {kind.plural} of {kind.version}", next_step=step)
                self.missing = str(missing)
                raise missing from error
            with self._lock:
                newer = self._known.get(kind.kind, {})
                listed = {item["metadata"]["name"]: item for item in items}
                later = {  # made after the list was: a watch was faster
                    name: body
                    for name, body in newer.items()
                    if name not in listed and int(body["metadata"]["resourceVersion"]) > int(version)
                }
                self._known[kind.kind] = later | {
                    name: _newest(item, newer[name]) if name in newer else item for name, item in listed.items()
                }
        self.missing, self.listed = "", True

    def seen(self, kind: str, event: str | None, body: Object) -> None:
        """What a watch reported."""
        name = body["metadata"]["name"]
        with self._lock:
            known = self._known.setdefault(kind, {})
            if event == "DELETED":
                if known.get(name, body)["metadata"].get("uid") == body["metadata"].get("uid"):
                    known.pop(name, None)
            else:
                known[name] = _newest(body, known[name]) if name in known else body

    def get(self, kind: ApiKind, name: str) -> Object | None:
        with self._lock:
            return self._known.get(kind.kind, {}).get(name)

    def all(self, kind: ApiKind) -> list[Object]:
        """By name."""
        with self._lock:
            return [body for _, body in sorted(self._known.get(kind.kind, {}).items())]

    def highest_epoch(self) -> int:
        """The highest lease epoch that any owned object carries."""
        return max((epoch_of(body) for kind in _OWNED for body in self.all(kind) if ours(kind, body)), default=0)

    # --- writing -----------------------------------------------------------------------------------------------------

    def create(self, kind: ApiKind, body: Object, fence: Fence | None) -> Object:
        """Raises:
        Conflict: it exists, or the lease has run out.
        """
        return self._written(kind, body["metadata"]["name"], fence, lambda: self.api.create(kind, body))

    def replace(self, kind: ApiKind, body: Object, fence: Fence | None, *, status: bool = False) -> Object:
        """Writes onto the resourceVersion in `body`, or not at all.

        Raises:
            Conflict: somebody else wrote, or the lease has run out.
        """
        name = body["metadata"]["name"]
        return self._written(kind, name, fence, lambda: self.api.replace(kind, body, status=status))

    def delete(self, kind: ApiKind, name: str, fence: Fence | None) -> None:
        """An object that is not there is no error."""
        self._check(fence)
        known = self.get(kind, name)
        version = known["metadata"]["resourceVersion"] if known is not None else None
        try:
            self.api.delete(kind, name, resource_version=version)
        except Conflict:
            self._look_again(kind, name)
            raise
        with self._lock:
            self._known.get(kind.kind, {}).pop(name, None)

    def sign(self, fence: Fence) -> None:
        """Puts a new leader's epoch on everything that it owns now.

        From then on the server refuses what an older leader still has under way: the resourceVersions that it knows
        are worth nothing, and its epoch is too low.

        Raises:
            TidegateError: an object changed meanwhile, or the server does not answer; sign again.
        """
        for kind in _OWNED:
            for body in self.all(kind):
                if not ours(kind, body) or epoch_of(body) >= fence.epoch:
                    continue
                if kind.kind in _SIGNED_IN_STATUS:
                    status = {**(body.get("status") or {}), "leaderEpoch": fence.epoch}
                    self.replace(kind, {**body, "status": status}, fence, status=True)
                else:
                    notes = {**annotations_of(body), EPOCH: str(fence.epoch)}
                    self.replace(kind, {**body, "metadata": {**body["metadata"], "annotations": notes}}, fence)

    def _written(self, kind: ApiKind, name: str, fence: Fence | None, write: Callable[[], Object]) -> Object:
        self._check(fence)
        try:
            body = write()
        except Conflict:
            self._look_again(kind, name)
            raise
        self.seen(kind.kind, "MODIFIED", body)
        return body

    def _look_again(self, kind: ApiKind, name: str) -> None:
        """After a conflict the next round must start from what is there, also when the watch is late."""
        found = self.api.get(kind, name)
        if found is None:
            with self._lock:
                self._known.get(kind.kind, {}).pop(name, None)
        else:
            self.seen(kind.kind, "MODIFIED", found)


def epoch_of(body: Object) -> int:
    """The lease epoch under which an owned object was written or signed last; 0 for none."""
    inside = [(body.get(part) or {}).get("leaderEpoch") for part in ("spec", "status")]
    found = [str(said) for said in (annotations_of(body).get(EPOCH), *inside)]
    epochs = [int(text) for text in found if text.isdecimal() and text.isascii()]
    return max((epoch for epoch in epochs if epoch <= _HIGHEST_EPOCH), default=0)


def ours(kind: ApiKind, body: Object) -> bool:
    """RayServices are other teams', too."""
    return kind is not RAY_SERVICE or MANAGED.items() <= (body["metadata"].get("labels") or {}).items()


def owner(body: Object) -> list[Object]:
    """The reference by which what is made for an object goes with it."""
    return [
        {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "name": body["metadata"]["name"],
            "uid": body["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def _newest(one: Object, other: Object) -> Object:
    """resourceVersions of one object grow (KEP-5504), so that a watch's late report never replaces a newer one."""
    if one["metadata"].get("uid") != other["metadata"].get("uid"):
        return max(one, other, key=lambda body: str(body["metadata"].get("creationTimestamp")))
    return max(one, other, key=lambda body: int(body["metadata"]["resourceVersion"]))
