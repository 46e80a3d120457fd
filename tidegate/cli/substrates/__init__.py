"""Where a command acts: this machine's database, or a cluster's API server. The commands know only the port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.cli.substrates.port import Answer, Applied, Asked, Deployment, Resources, Rollouts

if TYPE_CHECKING:
    from tidegate.adapters.kube.person import PersonApi

__all__ = ["Answer", "Applied", "Asked", "Deployment", "Resources", "Rollouts", "resources", "rollouts"]


def rollouts(namespace: str = "", context: str = "") -> Rollouts:
    """Rollouts of the place that the options and the environment name.

    Args:
        namespace: option -n. It names a cluster, as `context` does.
        context: option --context.

    Raises:
        TidegateError: there is no such place, or no way to it.
    """
    chosen = _cluster_namespace(namespace, context)
    if chosen is None:
        from tidegate.cli.substrates.local import LocalRollouts  # noqa: PLC0415 - SQLAlchemy

        return LocalRollouts()
    from tidegate.cli.substrates.cluster import ClusterRollouts  # noqa: PLC0415 - the Kubernetes client

    return ClusterRollouts(_api(chosen, context))


def resources(namespace: str = "", context: str = "") -> Resources:
    """Desired state of that place; see `rollouts`."""
    chosen = _cluster_namespace(namespace, context)
    if chosen is None:
        from tidegate.cli.substrates.local import LocalResources  # noqa: PLC0415 - SQLAlchemy

        return LocalResources()
    from tidegate.cli.substrates.cluster_resources import ClusterResources  # noqa: PLC0415 - the Kubernetes client

    return ClusterResources(_api(chosen, context), strict=bool(namespace))


def _cluster_namespace(namespace: str, context: str) -> str | None:
    """The namespace on the cluster (empty: the context's), or None for this machine."""
    from tidegate.settings import load_place  # noqa: PLC0415 - pydantic

    profile, configured = load_place()
    if not (namespace or context or profile == "cluster"):
        return None
    return namespace or ("" if context else configured)


def _api(namespace: str, context: str) -> PersonApi:
    from tidegate.adapters.kube.person import PersonApi  # noqa: PLC0415 - the Kubernetes client

    return PersonApi.of_kubeconfig(namespace, context)
