"""The API server as a person reaches it: their kubeconfig, their name, and manifests applied on the server's side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import yaml
from kubernetes import config
from kubernetes.config.kube_config import KubeConfigMerger

from tidegate.adapters.kube.api import NAMESPACE_FILE, KubeApi
from tidegate.adapters.kube.kinds import ApiKind, Object
from tidegate.errors import InvalidInput

MANAGER = "tidegate"
"""Owner of the fields that `tidegate apply` sets."""
_APPLY_PATCH = "application/apply-patch+yaml"
_DEFAULT_FILE = "~/.kube/config"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class PersonApi(KubeApi):
    """One namespace of an API server, by the rights of whoever calls."""

    context = ""
    """Name in the kubeconfig; empty inside a pod."""

    @classmethod
    def of_kubeconfig(cls, namespace: str = "", context: str = "", *, seconds: float = 5.0) -> Self:
        """By KUBECONFIG, else ~/.kube/config, else the service account of this pod.

        Args:
            namespace: unset: the context's.
            context: unset: the current one.

        Raises:
            InvalidInput: there is no kubeconfig, it cannot be read, or it has no such context.
        """
        named = os.environ.get("KUBECONFIG", "")
        if not named and not context and not Path(_DEFAULT_FILE).expanduser().exists() and NAMESPACE_FILE.exists():
            return cls.connect(namespace, seconds=seconds)
        where = named or _DEFAULT_FILE
        try:
            chosen = _chosen(where, context)
            found = namespace or str(chosen["context"].get("namespace") or "default")
            api = cls.from_kubeconfig(where, found, context=chosen["name"], seconds=seconds)
        except (config.ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as no:
            raise InvalidInput(
                f"the kubeconfig {where} cannot be used: {type(no).__name__}: {no}",
                next_step="Correct it, or name another one in KUBECONFIG; 'kubectl config view' shows what it says.",
            ) from None
        api.context = chosen["name"]
        return api

    def within(self, namespace: str) -> Self:
        """The same server and user, another namespace."""
        made = type(self)(self._api, namespace, self._seconds)
        made.context = self.context
        return made

    def whoami(self) -> str:
        """The user name under which the API server knows the caller: what `kubectl auth whoami` says."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return str(self._must("POST", _WHO, body=body)["status"]["userInfo"]["username"])

    def apply(self, kind: ApiKind, body: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply: makes the object, or sets the fields in `body` and lets go of those set here before.

        Args:
            kind: the object's kind.
            body: the manifest: only what its author says, so that the rest stays the server's or another's.
            dry_run: the server checks all it would check, and stores nothing.

        Raises:
            Conflict: another manager owns a field and wants it otherwise.
            InvalidInput: the server refuses the manifest; also for a field that it does not know.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        head = {"apiVersion": kind.version, "kind": kind.kind}
        path = kind.object_path(self.namespace, body["metadata"]["name"])
        return self._must("PATCH", path, query=query, body={**head, **body}, content_type=_APPLY_PATCH)


def _chosen(where: str, context: str) -> dict[str, Any]:
    """The entry of the context that is named, else of the current one."""
    merged = KubeConfigMerger(where).config
    if merged is None:
        raise InvalidInput(
            f"there is no kubeconfig at {where}",
            next_step="Set KUBECONFIG to the file that whoever runs the cluster gave you.",
        )
    entries: dict[str, Any] = {str(item["name"]): item["context"].value for item in merged.value["contexts"]}
    wanted = context or str(merged.value.get("current-context") or "")
    if wanted not in entries:
        problem = f"has no context {wanted!r}" if wanted else "has no current context"
        names = ", ".join(sorted(entries)) or "none"
        raise InvalidInput(
            f"the kubeconfig {where} {problem}", next_step=f"Name one with --context; there are: {names}."
        )
    return {"name": wanted, "context": entries[wanted]}
