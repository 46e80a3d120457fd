"""Desired state on a cluster: server-side apply, so that admission and every rule of the definitions count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.kube.kinds import OWN, ApiKind, Object, annotations_of
from tidegate.adapters.kube.person import MANAGER, PersonApi
from tidegate.cli.substrates.kube_errors import told
from tidegate.cli.substrates.port import Applied
from tidegate.cli.substrates.requester import names_requester, with_requester
from tidegate.domain.resources import AnyResource, ModelDeployment
from tidegate.errors import Conflict, InvalidInput, NotFound

_CONFLICTING = "Apply failed with "
"""How the API server begins when another manager owns a field."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One manifest on its way: where it goes, what is sent, and what is there before."""

    api: PersonApi
    kind: ApiKind
    body: Object
    before: Object | None


class ClusterResources:
    """The `Resources` port.

    Args:
        api: the namespace of manifests that name none.
        strict: it was named by the caller; a manifest with another one is refused.
    """

    def __init__(self, api: PersonApi, *, strict: bool) -> None:
        self._api = api
        self._strict = strict

    def apply(self, resources: Sequence[AnyResource], *, dry_run: bool) -> list[Applied]:
        """All are tried dry first."""
        wanted = [self._wanted(resource) for resource in resources]
        tried = [_applied(item, dry_run=True) for item in wanted]
        if dry_run:
            return [Applied(made.kind, made.name, f"{made.result} (dry run)") for made in tried]
        return [_applied(item, dry_run=False) for item in wanted]

    def delete(self, kind: str, name: str) -> None:
        with told(self._api):
            if kind == "ModelRuntime":
                self._refuse_in_use(name)
            if self._api.get(OWN[kind], name) is None:
                self._api.list(OWN[kind])  # says so when it is the kind that is missing
                raise NotFound(
                    f"{kind} {name!r} does not exist in namespace {self._api.namespace!r}",
                    next_step=f"See 'kubectl get {OWN[kind].plural} -n {self._api.namespace}'.",
                )
            self._api.delete(OWN[kind], name)

    def _refuse_in_use(self, runtime: str) -> None:
        found, _ = self._api.list(OWN["ModelDeployment"])
        using = [
            body["metadata"]["name"]
            for body in found
            if body["spec"]["runtimeRef"]["name"] == runtime and "deletionTimestamp" not in body["metadata"]
        ]
        if using:
            raise Conflict(
                f"ModelRuntime {runtime!r} serves {', '.join(using)}", next_step="Delete those deployments first."
            )

    def _wanted(self, resource: AnyResource) -> _Wanted:
        api, kind = self._namespace_of(resource), OWN[resource.kind]
        with told(api):
            before = api.get(kind, resource.metadata.name)
            if isinstance(resource, ModelDeployment):
                resource = _named(api, kind, resource, before)
        return _Wanted(api, kind, _body(api, resource), before)

    def _namespace_of(self, resource: AnyResource) -> PersonApi:
        named = resource.metadata.namespace if "namespace" in resource.metadata.model_fields_set else ""
        if not named or named == self._api.namespace:
            return self._api
        if self._strict:
            raise InvalidInput(
                f"{resource.kind} {resource.metadata.name!r} names namespace {named!r}, and -n names "
                f"{self._api.namespace!r}",
                next_step="Leave one of them out; nothing was changed.",
            )
        return self._api.within(named)


def _named(api: PersonApi, kind: ApiKind, resource: ModelDeployment, before: Object | None) -> ModelDeployment:
    """With the name of who asks, where somebody relies on it. What is a change, the API server says."""
    known = annotations_of(before) if before is not None else {}
    if not names_requester(resource, known):
        return resource
    user = api.whoami()
    mine = with_requester(resource, known, user, changed=True)
    made = _send(api, kind, _body(api, mine), dry_run=True)
    changed = before is None or made["spec"] != before["spec"]
    return mine if changed else with_requester(resource, known, user, changed=False)


def _body(api: PersonApi, resource: AnyResource) -> Object:
    """What its author says and nothing else: defaults are the server's."""
    body: Object = resource.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {**body, "metadata": {**body["metadata"], "namespace": api.namespace}}


def _applied(item: _Wanted, *, dry_run: bool) -> Applied:
    with told(item.api):
        made = _send(item.api, item.kind, item.body, dry_run=dry_run)
    result = "created" if item.before is None else "configured" if _said(made) != _said(item.before) else "unchanged"
    return Applied(item.kind.kind, str(made["metadata"]["name"]), result)


def _send(api: PersonApi, kind: ApiKind, body: Object, *, dry_run: bool) -> Object:
    try:
        return api.apply(kind, body, dry_run=dry_run)
    except Conflict as error:
        if _CONFLICTING not in error.problem:
            raise
        raise Conflict(
            f"{kind.kind} {body['metadata']['name']!r}: {error.problem}",
            next_step="Change it where it is managed (in Git, if Argo CD or Flux is named), or take it over: "
            f"kubectl apply --server-side --force-conflicts --field-manager={MANAGER} -f FILE.",
        ) from None


def _said(body: Object) -> tuple[Any, ...]:
    """What people decide of an object."""
    metadata = body["metadata"]
    return body["spec"], metadata.get("labels") or {}, annotations_of(body)
