"""Desired state: applied manifests with generation, resourceVersion and status, in the manner of Kubernetes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.domain.resources import KINDS, AnyResource, ModelDeployment, to_manifest
from tidegate.errors import Conflict, InvalidInput, NotFound
from tidegate.ids import canonical_json
from tidegate.ledger import Ledger
from tidegate.store.leases import Fence, check_fence
from tidegate.store.tables import resources


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A resource with its bookkeeping.

    `generation` counts changes of the spec, `resource_version` every change of the row. `deleted` marks a tombstone:
    the resource is unwanted, and whoever runs it tears it down and then calls `purge`.
    """

    resource: AnyResource
    generation: int
    resource_version: int
    status: dict[str, Any]
    deleted: bool

    @property
    def name(self) -> str:
        return self.resource.metadata.name


class ResourceStore:
    """Resources by kind and name."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._ledger = Ledger(db, clock)

    def apply(self, resource: AnyResource, actor: str) -> tuple[StoredResource, bool]:
        """Creates or replaces a resource; the status stays.

        Returns:
            What is stored now, and whether anything changed (applying the same manifest twice changes nothing).
        """
        kind, name, manifest = resource.kind, resource.metadata.name, to_manifest(resource)
        text = canonical_json(manifest)
        with self._db.write() as conn:
            first = insert(conn, resources).values(
                kind=kind,
                name=name,
                manifest=text,
                status="{}",
                generation=1,
                resource_version=1,
                deleted=False,
                updated_at=self._clock.now(),
            )
            created = conn.execute(first.on_conflict_do_nothing(index_elements=["kind", "name"])).rowcount == 1
            row = conn.execute(_select(kind, name).with_for_update()).one()
            if not created:
                if row.manifest == text and not row.deleted:
                    return _stored(row), False
                before = json.loads(row.manifest)["spec"]
                if not row.deleted:
                    _refuse_moving(resource, before, json.loads(row.status))
                respecified = row.deleted or before != manifest["spec"]
                conn.execute(
                    _update(kind, name).values(
                        manifest=text,
                        status="{}" if row.deleted else row.status,
                        generation=row.generation + int(respecified),
                        resource_version=row.resource_version + 1,
                        deleted=False,
                        updated_at=self._clock.now(),
                    )
                )
                row = conn.execute(_select(kind, name)).one()
            payload = {"manifest": manifest, "generation": row.generation, "resource_version": row.resource_version}
            self._ledger.append("resource.applied", f"{kind}/{name}", payload, actor=actor, conn=conn)
            return _stored(row), True

    def get(self, kind: str, name: str) -> StoredResource | None:
        """The resource, also while it is being deleted; None when there is none."""
        _known(kind)
        with self._db.read() as conn:
            row = conn.execute(_select(kind, name)).one_or_none()
        return None if row is None else _stored(row)

    def list(self, kind: str, *, deleted: bool = True) -> list[StoredResource]:
        """All resources of a kind by name; `deleted=False` leaves out those that are being deleted."""
        _known(kind)
        query = sa.select(resources).where(resources.c.kind == kind).order_by(resources.c.name)
        if not deleted:
            query = query.where(resources.c.deleted.is_(False))
        with self._db.read() as conn:
            return [_stored(row) for row in conn.execute(query)]

    def delete(self, kind: str, name: str, actor: str) -> None:
        """Marks a resource as unwanted; its controller tears it down and purges it.

        Raises:
            NotFound: there is no such resource.
        """
        with self._db.write() as conn:
            row = conn.execute(_select(kind, name).with_for_update()).one_or_none()
            if row is None:
                raise _missing(kind, name)
            if row.deleted:
                return
            version = row.resource_version + 1
            change = _update(kind, name).values(deleted=True, resource_version=version, updated_at=self._clock.now())
            conn.execute(change)
            self._ledger.append(
                "resource.deleted", f"{kind}/{name}", {"resource_version": version}, actor=actor, conn=conn
            )

    def unread(self) -> set[str]:
        """None: a row that cannot be read is an error of the whole store."""
        return set()

    def adopt(self, stored: StoredResource, fence: Fence) -> bool:
        """Nothing to do: a row that is deleted stays as a tombstone until it is purged."""
        return False

    def purge(self, kind: str, name: str, *, fence: Fence | None = None) -> None:
        """Removes the row of a resource that was deleted and torn down; a resource in use is left alone."""
        gone = sa.and_(resources.c.kind == kind, resources.c.name == name, resources.c.deleted.is_(True))
        with self._db.write() as conn:
            check_fence(conn, fence)
            conn.execute(sa.delete(resources).where(gone))

    def update_status(
        self,
        kind: str,
        name: str,
        status: dict[str, Any],
        expected_resource_version: int,
        *,
        fence: Fence | None = None,
        conn: sa.Connection | None = None,
    ) -> int:
        """Replaces the status if nobody changed the row since it was read.

        Args:
            kind: for example 'ModelDeployment'.
            name: the resource's name.
            status: the whole new status, JSON-serialisable.
            expected_resource_version: the row's version when the caller read it.
            fence: the caller's lease; a stale holder is refused.
            conn: joins the caller's transaction.

        Returns:
            The new resource version.

        Raises:
            Conflict: the row or the lease changed meanwhile.
            NotFound: there is no such resource.
        """
        with self._db.write(conn) as own:
            check_fence(own, fence)
            change = (
                _update(kind, name)
                .where(resources.c.resource_version == expected_resource_version)
                .values(
                    status=canonical_json(status),
                    resource_version=expected_resource_version + 1,
                    updated_at=self._clock.now(),
                )
            )
            if own.execute(change).rowcount == 1:
                return expected_resource_version + 1
            current = own.execute(
                sa.select(resources.c.resource_version).where(resources.c.kind == kind, resources.c.name == name)
            ).scalar_one_or_none()
        if current is None:
            raise _missing(kind, name)
        raise Conflict(
            f"{kind}/{name} is at resourceVersion {current}, the status was made for {expected_resource_version}",
            next_step="Read the resource again and decide anew.",
        )


def _select(kind: str, name: str) -> sa.Select[Any]:
    return sa.select(resources).where(resources.c.kind == kind, resources.c.name == name)


def _update(kind: str, name: str) -> sa.Update:
    return sa.update(resources).where(resources.c.kind == kind, resources.c.name == name)


def _stored(row: sa.Row[Any]) -> StoredResource:
    return StoredResource(
        resource=KINDS[row.kind].model_validate_json(row.manifest),
        generation=int(row.generation),
        resource_version=int(row.resource_version),
        status=json.loads(row.status),
        deleted=bool(row.deleted),
    )


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidInput(f"kind {kind!r} is unknown", next_step=f"Use one of {', '.join(sorted(KINDS))}.")


def _missing(kind: str, name: str) -> NotFound:
    return NotFound(f"{kind}/{name} does not exist", next_step="Create it with 'tidegate apply -f MANIFEST'.")


def _refuse_moving(resource: AnyResource, before: dict[str, Any], status: dict[str, Any]) -> None:
    """What a serving deployment's record depends on cannot be changed under it: its engine, and its model's name."""
    if not isinstance(resource, ModelDeployment) or status.get("stable") is None:
        return
    for field, old, new in (
        ("runtimeRef.name", before["runtimeRef"]["name"], resource.spec.runtime_ref.name),
        ("model.name", before["model"]["name"], resource.spec.model.name),
    ):
        if old != new:
            name = resource.metadata.name
            raise Conflict(
                f"spec.{field} of ModelDeployment {name!r} is {old!r}; while version {status['stable']} serves from it "
                f"it cannot become {new!r}",
                next_step=f"Apply a deployment of another name beside it, or 'tidegate delete {name}' first.",
            )
